#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Structural rules that grep can hold: the library never prints or exits, and no code outside src/models/arch names a model type."""
import pathlib
import re
import sys

PRINTS = re.compile(r"\b(std::cout|std::cerr|printf|puts|std::exit|abort)\b\s*[(<]")
PRINT_ALLOWED = {"src/base/check.cc"}
MODEL_TYPE_IF = re.compile(r'model_type\w*\s*(==|!=|\.starts_with|\.find|\.contains)')
MODEL_ALLOWED = ("src/models/arch/", "src/methods/gguf/")


def main(root):
    root = pathlib.Path(root)
    bad = []
    names = "|".join(sorted(path.stem for path in (root / "src/models/arch").glob("*.cc")))
    name_if = re.compile(rf'(\b(if|case)\b|==|!=|\.starts_with\()[^\n;]*"({names})"')
    for path in sorted((root / "src").rglob("*.cc")) + sorted((root / "src").rglob("*.h")):
        name = str(path.relative_to(root))
        if path.stem.endswith(("_test", "_bench")):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = line.split("//")[0]
            if not name.startswith("src/cli/") and name not in PRINT_ALLOWED and PRINTS.search(code):
                bad.append(f"{name}:{number}: the library neither prints nor exits: {line.strip()}")
            if not name.startswith(MODEL_ALLOWED) and (name_if.search(code) or MODEL_TYPE_IF.search(code)):
                bad.append(f"{name}:{number}: a model type is known in src/models/arch only: {line.strip()}")
    print("\n".join(bad) or "rules hold")
    return 1 if bad else 0


sys.exit(main(sys.argv[1]))
