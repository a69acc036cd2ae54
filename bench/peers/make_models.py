#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes random-weight Llama models: GGUF files of any ggml type, hub folders of any spelling that hub_spellings.py has.

    make_models.py FOLDER 110m:q4_k 1b:gptq-int4        (with a Python that has numpy and gguf)

A model that is there already is left as it is.
"""
import argparse
import shutil
import sys
from pathlib import Path

from ggml_types import GGML_TYPES, SPELLINGS
from model_names import ModelName


def make(folder: Path, model: ModelName) -> Path:
    """The model's path. It appears whole: it is made under another name and renamed."""
    path = model.path(folder)
    if path.exists():
        return path
    unfinished = path.with_name(path.name + ".unfinished")
    if model.is_hub:
        from hub_folders import write_hub_folder
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        write_hub_folder(unfinished, model.shape, model.kind)
    else:
        from gguf_files import write_gguf
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        write_gguf(unfinished, model.shape, GGML_TYPES[model.kind])
    unfinished.rename(path)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog=f"types: {' '.join(GGML_TYPES)}\nspellings: {' '.join(SPELLINGS)}")
    parser.add_argument("folder", type=Path, help="where the models are put")
    parser.add_argument("models", nargs="+", help="SHAPE:TYPE or SHAPE:SPELLING; shapes: 110m, 1b")
    args = parser.parse_args()
    for text in args.models:
        try:
            model = ModelName.parse(text)
        except ValueError as error:
            parser.error(str(error))
        print(make(args.folder, model), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
