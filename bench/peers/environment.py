# SPDX-License-Identifier: Apache-2.0
"""The Python environment with llama-cpp-python, and what machine this is. Standard library only."""
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]  # of nibble's tree
PACKAGES = ("numpy", "gguf")
# From source, so that it is built for this processor; a wheel from elsewhere may lack its instructions.
PEER = ("--no-binary", "llama-cpp-python", "llama-cpp-python")
PEER_CMAKE = "-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON"


class PeerError(Exception):
    """Something the user can act on; the message says what."""


def require_outside_tree(path: Path, option: str) -> None:
    if ROOT == path.resolve() or ROOT in path.resolve().parents:
        raise PeerError(f"{option} {path} lies inside nibble's tree; gigabytes do not belong there, name a folder outside of it")


def _run(command: list[str], what: str, extra: dict[str, str] | None = None) -> None:
    if subprocess.run(command, env={**os.environ, **(extra or {})}, stdout=sys.stderr).returncode != 0:
        raise PeerError(f"{what} failed (the messages above say why): {' '.join(command)}")


def _imports(python: Path, modules: str) -> bool:
    return python.exists() and subprocess.run([python, "-c", f"import {modules}"], capture_output=True).returncode == 0


def ensure_venv(folder: Path) -> Path:
    """Its Python. Made and filled where it is not; building llama.cpp takes some minutes."""
    require_outside_tree(folder, "--venv")
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making {folder}", file=sys.stderr)
        _run([sys.executable, "-m", "venv", str(folder)], "making a virtual environment (on Debian it needs python3-venv)")
    if not _imports(python, "numpy, gguf"):
        _run([str(python), "-m", "pip", "install", "-q", *PACKAGES], "installing numpy and gguf")
    if not _imports(python, "llama_cpp"):
        print("building llama-cpp-python for this processor; that takes some minutes", file=sys.stderr)
        _run([str(python), "-m", "pip", "install", *PEER], "building llama-cpp-python (it needs a C++ compiler)",
             {"CMAKE_ARGS": f"{PEER_CMAKE} {os.environ.get('CMAKE_ARGS', '')}".strip()})
    return python


def _first(pattern: str, path: str, default: str = "") -> str:
    try:
        found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return default
    return found.group(1).strip() if found else default


def last_level_cache_bytes() -> int:
    """What the first core can use, 0 where the system does not say. Not sysconf's, which may count the caches of other cores."""
    sizes = [_first(r"^(\d+)K$", str(path)) for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max((int(size) << 10 for size in sizes if size), default=0)


def describe_machine() -> dict[str, Any]:
    flags = set(_first(r"^flags\s*:(.*)$", "/proc/cpuinfo").split())
    wanted = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
    return {
        "processor": _first(r"^model name\s*:(.*)$", "/proc/cpuinfo", platform.machine()),
        "family_model": "family {} model {}".format(_first(r"^cpu family\s*:(.*)$", "/proc/cpuinfo", "?"),
                                                    _first(r"^model\s*:(.*)$", "/proc/cpuinfo", "?")),
        "instructions": [name for name in wanted if name in flags],
        "hypervisor": "hypervisor" in flags,
        "cores": len(os.sched_getaffinity(0)),
        "l3_bytes": last_level_cache_bytes(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
    }


def nibble_version(program: Path) -> str:
    """And the commit of the tree, where the program was built in it."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True)
    if ROOT not in program.parents:
        return said.stdout.strip()
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return " ".join(filter(None, [said.stdout.strip(), commit.stdout.strip() if commit.returncode == 0 else ""]))


def find_nibble(given: str) -> Path:
    path = Path(given) if given else ROOT / "build" / "release" / "nibble"
    if not path.is_file() or not os.access(path, os.X_OK):
        raise PeerError(f"{path} is no program; build nibble (make) or name it with --nibble PATH")
    return path.resolve()
