#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails on an #include between folders of src/ that src/LAYERS does not allow."""
import pathlib
import re
import sys

SIBLINGS = {"formats": {"packing"}, "methods": {"common"}, "quantizers": {"common"}, "kernels": set()}


def read_layers(path):
    table = {}
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            folder, allowed = line.split(":")
            table[folder.strip()] = set(allowed.split()) | {folder.strip(), "base", "tensors"}
    table["base"] = {"base"}
    table["tensors"] = {"base", "tensors"}
    return table


def main(root):
    src = pathlib.Path(root) / "src"
    table = read_layers(src / "LAYERS")
    errors = []
    for path in sorted(src.rglob("*")):
        if path.suffix not in (".cc", ".h", ".cu", ".cuh", ".inc"):
            continue
        parts = path.relative_to(src).parts
        folder = parts[0]
        if folder not in table:
            errors.append(f"{path}: folder {folder} has no line in src/LAYERS")
            continue
        is_test = path.stem.endswith(("_test", "_bench"))
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not match or "/" not in match[1]:
                continue
            target = match[1].split("/")
            where = f"src/{path.relative_to(src)}:{number}: includes {match[1]}"
            if target[0] not in table:
                if not (is_test and target[0] == "support"):
                    errors.append(f"{where}: not a folder of src/")
                continue
            allowed = table[folder]
            if not is_test and "*" not in allowed and target[0] not in allowed and match[1] not in allowed:
                errors.append(f"{where}: {folder} may include only {sorted(allowed)}")
            if "detail" in target[:-1] and target[0] != folder:
                errors.append(f"{where}: detail/ is private to its folder")
            if folder == target[0] and folder in SIBLINGS and len(parts) > 2 and len(target) > 2:
                if parts[1] != target[1] and target[1] not in SIBLINGS[folder] and not is_test:
                    if folder != "kernels" or (parts[1] == target[1] == "cpu" and len(parts) > 3 and len(target) > 3 and parts[2] != target[2]):
                        errors.append(f"{where}: siblings never include each other")
    print("\n".join(errors) or "layers hold")
    return 1 if errors else 0


sys.exit(main(sys.argv[1]))
