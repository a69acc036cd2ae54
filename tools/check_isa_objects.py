#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails if an object compiled for an instruction set exports a weak symbol: the linker could give that copy to baseline callers."""
import pathlib
import re
import subprocess
import sys

ISA_OBJECT = re.compile(r"(avx2|avx512|avx512vnni|amx|neon)\.cc\.o$")


def main(build):
    bad, seen = [], 0
    for path in sorted(pathlib.Path(build).rglob("*.o")):
        if not ISA_OBJECT.search(path.name):
            continue
        seen += 1
        names = subprocess.run(["nm", "-C", "--defined-only", str(path)], capture_output=True, text=True).stdout
        bad += [f"{path.name}: weak symbol {line.split(None, 2)[2]}" for line in names.splitlines() if line.split()[1] in "WVu"]
    if not seen:
        bad.append("no ISA object found")
    print("\n".join(bad) or f"{seen} objects, no weak symbols")
    return 1 if bad else 0


sys.exit(main(sys.argv[1]))
