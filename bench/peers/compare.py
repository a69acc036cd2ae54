#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""nibble and llama.cpp side by side, on random-weight models of Llama's shape.

Makes the models, builds llama-cpp-python in an environment of its own where it is not there yet, runs both engines in alternation,
prints medians, spreads, ratios and shares, keeps every round as JSON, and with --docs writes docs/performance.md.

    python3 bench/peers/compare.py --quick                          a trial of some minutes
    python3 bench/peers/compare.py --docs docs/performance.md       the default models, 5 rounds: hours
    python3 bench/peers/compare.py --models 110m:all-ggml --check   does each file run in both engines?
    python3 bench/peers/compare.py --report RESULTS.json --docs docs/performance.md
"""
import argparse
import subprocess
import sys
import time
from pathlib import Path

from check import check_models
from engines import Llama, Nibble
from environment import PeerError, describe_machine, ensure_venv, find_nibble, nibble_version, require_outside_tree
from ggml_types import GGML_TYPES, SPELLINGS
from measure import Comparison, Results, Settings
from model_names import ModelName
from report import markdown, merge, without_busy, write_page

DEFAULT_MODELS = ("1b:f16,1b:q8_0,1b:q6_k,1b:q5_k,1b:q4_k,1b:q4_0,1b:q3_k,1b:q2_k,1b:iq4_xs,1b:iq3_s,1b:iq2_xxs,1b:mxfp4,"
                  "1b:gptq-int4,1b:awq-int4,1b:ct-fp8,1b:bnb-nf4,110m:f16,110m:q8_0,110m:q4_k,110m:q4_0")
FULL = {"models": DEFAULT_MODELS, "rounds": 5, "threads": [1, 2], "prompt": 512, "generate": 128, "depths": [0, 4096]}
QUICK = {"models": "110m:q8_0,110m:q4_k", "rounds": 1, "threads": [2], "prompt": 128, "generate": 32, "depths": [0, 512]}


def numbers(text: str) -> list[int]:
    return [int(item) for item in text.split(",") if item]


def words(text: str) -> list[str]:
    return [item for item in text.split(",") if item]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog=f"types: {' '.join(GGML_TYPES)}\nspellings: {' '.join(SPELLINGS)}\n"
                                            "SHAPE:all-ggml and SHAPE:all-hub name all of a shape; shapes: 110m, 1b")
    add = parser.add_argument
    add("--models", help="SHAPE:TYPE or SHAPE:SPELLING, separated by commas (default: " + DEFAULT_MODELS + ")")
    add("--rounds", type=int, help="default 5; with --quick 1")
    add("--threads", type=numbers, help="default 1,2; with --quick 2")
    add("--prompt", type=int, help="tokens of the prompt (default 512)")
    add("--generate", type=int, help="tokens decoded (default 128)")
    add("--depths", type=numbers, help="positions before the decoded tokens (default 0,4096)")
    add("--kv", type=words, default=["16", "8"],
        help="16: each engine's own cache; 8: int8 and q8_0, at depths over 0 (default 16,8)")
    add("--activations", type=words, default=["auto"], help="values of nibble's --activations to measure (default auto)")
    add("--quick", action="store_true", help="a trial: two small models, 1 round, prompt 128, 32 tokens, depths 0 and 512")
    add("--check", action="store_true", help="only run each model once, shortly, in both engines; no figures")
    add("--work-dir", type=Path, default=Path("~/.cache/nibble-peers").expanduser(), help="models, environment, results (outside "
        "nibble's tree; default ~/.cache/nibble-peers)")
    add("--venv", type=Path, help="environment with llama-cpp-python, made where absent (default: venv in the work folder)")
    add("--nibble", default="", help="the program (default: build/release/nibble)")
    add("--l3-mib", type=int, metavar="MIB", help="size of the last-level cache, where the system does not say it right")
    add("--out", type=Path, help="file of all rounds (default: results-DATE.json in the work folder)")
    add("--report", type=Path, nargs="+", metavar="JSON", help="no measuring: the tables of these files together")
    add("--quiet", type=float, metavar="CORES", help="leave out of the tables what was measured while other work took more than "
        "this many cores (0.1, say)")
    add("--docs", type=Path, metavar="PAGE", help="also write the tables between the markers of this page (docs/performance.md)")
    args = parser.parse_args()
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    check_arguments(parser, args)
    return args


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    try:
        args.models = ModelName.parse_list(args.models)
    except ValueError as error:
        parser.error(str(error))
    if min(args.threads, default=0) < 1 or args.prompt < 1 or args.generate < 1 or args.rounds < 1:
        parser.error("--threads, --prompt, --generate and --rounds are 1 or more")
    most = 8192 - args.generate - 2
    if not args.depths or min(args.depths) < 0 or max(args.depths) > most or args.prompt > most:
        parser.error(f"--depths {args.depths} and --prompt {args.prompt}: wanted 0 to {most}, the models' context less --generate")
    if not args.kv or any(kv not in ("16", "8") for kv in args.kv) or not args.activations:
        parser.error(f"--kv {','.join(args.kv)}: wanted 16, 8 or both; --activations: one or more")


def make_models(python: Path, folder: Path, models: list[ModelName]) -> None:
    """In a process of the environment, which has numpy; this one stays small (see engines.run_process)."""
    names = dict.fromkeys(str(name) for model in models for name in (model, model.peer))
    command = [str(python), str(Path(__file__).with_name("make_models.py")), str(folder), *names]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        raise PeerError(f"making models failed (the messages above say why): {' '.join(command)}")


def measure(args: argparse.Namespace, program: Path, llama: Llama, out: Path) -> Results:
    settings = Settings(args.rounds, args.threads, args.prompt, args.generate, args.depths, args.kv, args.activations)
    versions = {"nibble": nibble_version(program), "llama_cpp_python": llama.idle()[0]["version"]}
    results = Results(describe_machine(), versions, {**vars(settings)})
    nibbles = [Nibble(program, activations) for activations in args.activations]
    Comparison(results, settings, nibbles, llama, args.work_dir).run(args.models, out)
    said = [facts["notes"]["llama.cpp"]["system"] for facts in results.models.values() if "llama.cpp" in facts.get("notes", {})]
    results.versions["llama_system"] = said[0] if said else ""
    results.save(out)
    return results


def run(args: argparse.Namespace) -> int:
    if args.report:
        results = merge([Results.load(path) for path in args.report])
    else:
        require_outside_tree(args.work_dir, "--work-dir")
        program = find_nibble(args.nibble)
        args.work_dir.mkdir(parents=True, exist_ok=True)
        llama = Llama(ensure_venv(args.venv or args.work_dir / "venv").absolute())
        make_models(llama.python, args.work_dir / "models", args.models)
        if args.check:
            return check_models(args.models, args.work_dir / "models", Nibble(program, args.activations[0]), llama)
        out = args.out or args.work_dir / time.strftime("results-%Y%m%d-%H%M%S.json")
        results = measure(args, program, llama, out)
        print(f"every round: {out}", file=sys.stderr)
    if args.l3_mib is not None:
        results.machine["l3_bytes"] = args.l3_mib << 20
    text = markdown(results if args.quiet is None else without_busy(results, args.quiet))
    print(text)
    if args.docs:
        write_page(args.docs, text)
    return 0


def main() -> int:
    try:
        return run(parse_arguments())
    except PeerError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the rounds that were whole are saved", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
