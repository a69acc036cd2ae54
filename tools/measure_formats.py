#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what every online format costs on models/tales-5m and rewrites src/eval/advice_rows.inc, which `plan --advise` reads.

    tools/measure_formats.py build/release/nibble TEXT    (TEXT: a book; its first 4,096 tokens count)
"""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/tales-5m"


def main(program, text):
    formats = json.loads(subprocess.run([program, "methods", "--json"], check=True, capture_output=True).stdout)["online"]
    rows = []
    for form in formats:
        command = [program, "eval", MODEL, "--text", text, "--windows", "16", "--against", MODEL, "--quantization", form["name"], "--json"]
        result = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        rows.append((form["bits_per_weight"], form["name"], result["kl"]["mean"], result["tokens"]))
        print(f"{form['name']:12} {rows[-1][0]:6.3f} bits  KL {rows[-1][2]:.3e}")
    if len({row[3] for row in rows}) != 1:
        sys.exit("the rows were measured on different numbers of tokens")
    lines = [f'    {{"{name}", {bits:.4f}, {kl:.4e}}},\n' for bits, name, kl, _ in sorted(rows)]
    head = f"// Written by tools/measure_formats.py: name, bits per weight, KL in nats on {rows[0][3]} tokens of Peter Pan, models/tales-5m.\n"
    (ROOT / "src/eval/advice_rows.inc").write_text(head + "".join(lines))


main(*sys.argv[1:])
