#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Warns about source files over 600 lines, fails over 1,000 (tests 1,500); fails if the tree outgrows 45 MiB."""
import pathlib
import subprocess
import sys

WARN, FAIL, FAIL_TEST, TREE_MIB = 600, 1000, 1500, 45


def main(root):
    root = pathlib.Path(root)
    bad = []
    for path in sorted(root.glob("src/**/*")) + sorted(root.glob("tests/**/*")) + sorted(root.glob("fuzz/*")):
        if path.suffix not in (".cc", ".h", ".cu", ".cuh", ".py"):
            continue
        lines = len(path.read_text(errors="replace").splitlines())
        limit = FAIL_TEST if path.stem.endswith("_test") else FAIL
        if lines > limit:
            bad.append(f"{path.relative_to(root)}: {lines} lines, limit {limit}")
        elif lines > WARN:
            print(f"warning: {path.relative_to(root)}: {lines} lines; which idea wants a file of its own?")
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True).stdout.split(b"\0")
    total = sum((root / f.decode()).stat().st_size for f in listed if f and (root / f.decode()).is_file())
    if total > TREE_MIB << 20:
        bad.append(f"tree: {total >> 20} MiB, limit {TREE_MIB}")
    print("\n".join(bad) or "sizes hold")
    return 1 if bad else 0


sys.exit(main(sys.argv[1]))
