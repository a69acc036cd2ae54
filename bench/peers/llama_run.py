#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One measurement of llama.cpp in a process of its own, through llama-cpp-python's low-level functions. The last line of stdout is
one JSON object. Run by compare.py; the same work as `nibble bench MODEL -p P -n N -d D -r 1 -t T --json` and `nibble run`.

    llama_run.py speed MODEL --threads 2 --prompt 512 --generate 128 --depth 0
    llama_run.py first MODEL --threads 2       time from loading to the first token
    llama_run.py peak  MODEL --threads 2       a prompt and an answer, for the process's peak memory
    llama_run.py idle                          imports the library and ends: what Python itself costs
"""
import argparse
import ctypes
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import llama_cpp as api

SOME_LOG = 40  # lines printed with an error
WARM_UP = 32   # tokens before anything is timed: the first touch of pages and code, as the other side does
os.environ["GGML_NO_BACKTRACE"] = "1"  # a debugger's many lines would hide the reason
log_lines: list[str] = []


@api.llama_log_callback
def keep_log(_level: int, text: bytes, _user: object) -> None:
    log_lines.append(text.decode("utf-8", "replace").rstrip("\n"))


def fail(what: str) -> None:
    print("\n".join(log_lines[-SOME_LOG:]), file=sys.stderr)
    sys.exit(f"llama.cpp: {what}")


def load(path: str) -> api.llama_model_p:
    params = api.llama_model_default_params()  # mapped files, as llama.cpp does by itself
    params.n_gpu_layers = 0
    model = api.llama_model_load_from_file(path.encode(), params)
    if not model:
        fail(f"cannot load {path}")
    return model


def open_context(model: api.llama_model_p, args: argparse.Namespace, positions: int) -> api.llama_context_p:
    """llama.cpp's own settings but for the length, the threads and the type of K and V."""
    params = api.llama_context_default_params()
    params.n_ctx = positions
    params.n_batch = params.n_ubatch = args.batch
    params.n_threads = params.n_threads_batch = args.threads
    params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_AUTO
    params.type_k = params.type_v = {"f16": api.GGML_TYPE_F16, "q8_0": api.GGML_TYPE_Q8_0}[args.kv]
    context = api.llama_init_from_model(model, params)
    if not context:
        fail(f"cannot make a context of {positions} positions, K/V {args.kv}")
    return context


def some_tokens(count: int, vocab: int) -> list[int]:
    """The ids that `nibble bench` takes."""
    return [(i * 7919 + 1) % vocab for i in range(count)]


class Session:
    def __init__(self, model: api.llama_model_p, context: api.llama_context_p, batch: int) -> None:
        self.context, self.batch = context, batch
        self.vocab = api.llama_n_vocab(api.llama_model_get_vocab(model))

    def clear(self) -> None:
        api.llama_memory_clear(api.llama_get_memory(self.context), True)

    def decode(self, tokens: Sequence[int]) -> None:
        """Adds the tokens; logits of the last one only."""
        for begin in range(0, len(tokens), self.batch):
            part = tokens[begin:begin + self.batch]
            array = (api.llama_token * len(part))(*part)
            status = api.llama_decode(self.context, api.llama_batch_get_one(array, len(part)))
            if status != 0:
                fail(f"llama_decode gave {status} for {len(part)} tokens")
        api.llama_synchronize(self.context)

    def prompt_rate(self, count: int) -> float:
        self.clear()
        tokens = some_tokens(count, self.vocab)
        start = time.perf_counter()
        self.decode(tokens)
        return count / (time.perf_counter() - start)

    def decode_rate(self, depth: int, count: int) -> float:
        """`count` tokens one by one after max(depth, 1) others. None is sampled: any ids cost the same."""
        self.clear()
        self.decode(some_tokens(max(depth, 1), self.vocab))
        tokens = some_tokens(count, self.vocab)
        start = time.perf_counter()
        for token in tokens:
            self.decode([token])
        return count / (time.perf_counter() - start)

    def some_logits_are_numbers(self) -> bool:
        logits = ctypes.cast(api.llama_get_logits_ith(self.context, -1), ctypes.POINTER(ctypes.c_float))
        return all(abs(logits[i]) < 1e30 for i in range(0, self.vocab, 997))


def speed(args: argparse.Namespace) -> dict[str, Any]:
    model = load(args.model)
    positions = max(args.prompt, args.depth + args.generate + 2, WARM_UP)
    session = Session(model, open_context(model, args, positions), args.batch)
    session.decode(some_tokens(WARM_UP, session.vocab))
    result: dict[str, Any] = {}
    if args.prompt > 0:
        result["prompt_tok_s"] = session.prompt_rate(args.prompt)
    if args.generate > 0:
        result["decode_tok_s"] = session.decode_rate(args.depth, args.generate)
    result["logits_finite"] = session.some_logits_are_numbers()
    # Asked for as "auto"; the log tells whether the graph has it.
    result["flash_attention"] = any("flash" in line.lower() and "enabled" in line.lower() for line in log_lines)
    result["system"] = api.llama_print_system_info().decode()
    result["model_bytes"] = api.llama_model_size(model)
    return result


def first(args: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    model = load(args.model)
    session = Session(model, open_context(model, args, args.batch), args.batch)
    session.decode([1])
    finite = session.some_logits_are_numbers()
    return {"first_token_s": time.perf_counter() - start, "logits_finite": finite}


def peak(args: argparse.Namespace) -> dict[str, Any]:
    model = load(args.model)
    session = Session(model, open_context(model, args, args.prompt + args.generate), args.batch)
    session.decode(some_tokens(args.prompt, session.vocab))
    for token in some_tokens(args.generate, session.vocab):
        session.decode([token])
    return {"logits_finite": session.some_logits_are_numbers()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "first", "peak", "idle"])
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=128)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--kv", choices=["f16", "q8_0"], default="f16")
    args = parser.parse_args()
    if args.what != "idle" and not args.model:
        parser.error("give a MODEL, a .gguf file")
    api.llama_log_set(keep_log, ctypes.c_void_p(0))
    api.llama_backend_init()
    result = {"speed": speed, "first": first, "peak": peak, "idle": lambda _: {"version": api.__version__}}[args.what](args)
    print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
