#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files of a folder are compiled together (cmake/modules.cmake), so a file-local name belongs to one file of its folder.

The compiler sees most repeats, but not those in files that happen to lie in different batches, nor overloads and names that hide a
shared function."""
import collections
import pathlib
import re
import sys

SHARED = re.compile(r"PrintTo$|operator")  # overloads for a file's own types
TEMPLATE = re.compile(r"^template\s*<[^>]*>\s*")
TYPE = re.compile(r"(?:struct|class|enum class|enum|union)\s+(\w+)")
CONSTANTS = re.compile(r"\b(k[A-Z]\w*)\)?\s*(?=[=\[{])")
FUNCTION = re.compile(r"[\w:<>,*&\[\] ().]*?[\w>*&\]] ?[*&]?\b(\w+)\(")
ALIAS = re.compile(r"(?:using (\w+) =|namespace (\w+) =)")


def declared(line):
    """Names that a line at namespace scope declares; an alias with what it stands for, since the same one twice is no conflict."""
    line = TEMPLATE.sub("", line.split("//")[0].rstrip())
    if not line or line[0] in " }#" or line.startswith(("using testing::", "using ::", "TEST", "INSTANTIATE", "friend")):
        return {}
    if alias := ALIAS.match(line):
        return {alias[1] or alias[2]: line}
    if line.startswith(("using ", "namespace ")):
        return {}
    if found := TYPE.match(line):
        return {} if line.endswith(";") else {found[1]: None}
    if re.match(r"(static |inline )*const", line) and (found := CONSTANTS.findall(line)):
        return dict.fromkeys(found)
    found = FUNCTION.match(line)
    return {found[1]: None} if found and not SHARED.match(found[1]) else {}


def local_names(text):
    names, inside = {}, False
    for line in text.splitlines():
        if re.match(r"namespace (\w+::)*\{", line) or line.startswith("namespace {"):
            inside = True
        elif re.match(r"\}\s*// namespace$", line):
            inside = False
        elif inside or line.startswith("static "):
            names.update(declared(line))
    return names


def shared_names(text):
    """What a header declares in nibble itself; inner namespaces keep to themselves."""
    names = set()
    if set(re.findall(r"^namespace ([\w:]*) ?\{", text, re.M)) == {"nibble"}:
        for line in text.splitlines():
            names |= {name for name, alias in declared(line).items() if not alias}
    return names


def main(root):
    root = pathlib.Path(root)
    rows = re.search(r"set\(NIBBLE_BATCHES ([^)]*)\)", (root / "cmake/modules.cmake").read_text())[1].split()
    folders = [row.split("=")[0] for row in rows] + ["cli"]

    def folder_of(name):
        if name.startswith("tests/") or name.endswith("_test.cc"):
            return "tests of " + name.split("/")[name.startswith("src/")]
        return next((folder for folder in folders if name.startswith(f"src/{folder}/")), None)

    owners, shared, bad = collections.defaultdict(dict), {}, []
    for path in sorted(root.glob("src/**/*.h")):
        if "src/kernels/cpu/" not in str(path):
            shared.update(dict.fromkeys(shared_names(path.read_text()), str(path.relative_to(root))))
    for path in sorted(root.glob("src/**/*.cc")) + sorted(root.glob("tests/*.cc")):
        name = str(path.relative_to(root))
        folder = folder_of(name)
        if not folder or name.endswith("_bench.cc"):
            continue
        for local, alias in local_names(path.read_text()).items():
            other, meaning = owners[folder].setdefault(local, (name, alias))
            if other != name and (alias is None or alias != meaning):
                bad.append(f"{name}: {local} is a name of {other} too, which is compiled with it; say whose it is")
            header = shared.get(local, "").split("/")
            if len(header) > 1 and header[1] in ("base", "tensors", name.split("/")[1]) and not alias:
                bad.append(f"{name}: {local} would hide that of {shared[local]} from the files compiled with it")
    print("\n".join(bad) or f"names of {len(folders)} folders and their tests are unique")
    return 1 if bad else 0


sys.exit(main(sys.argv[1]))
