# SPDX-License-Identifier: Apache-2.0
"""Does every model run in both engines? One short run each, no figures. Standard library only."""
from pathlib import Path

from engines import Llama, Nibble
from environment import PeerError
from model_names import ModelName


def _outcome(engine: Nibble | Llama, path: Path) -> str:
    try:
        speed = engine.speed(path, threads=1, prompt=16, generate=2, depth=0, kv="16")
    except PeerError as error:
        return "no: " + str(error).strip().splitlines()[-1].strip()
    return f"yes ({speed.notes['method']})" if "method" in speed.notes else "yes"


def check_models(models: list[ModelName], folder: Path, nibble: Nibble, llama: Llama) -> int:
    """Prints a line for each; 1 if nibble refuses one."""
    refused = 0
    for name in models:
        mine = _outcome(nibble, name.path(folder))
        theirs = f"beside it {name.peer.kind}" if name.is_hub else _outcome(llama, name.path(folder))
        refused += mine.startswith("no")
        print(f"{name!s:22} nibble {mine}; llama.cpp {theirs}", flush=True)
    return 1 if refused else 0
