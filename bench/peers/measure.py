# SPDX-License-Identifier: Apache-2.0
"""Rounds of measurements, both engines in turn, kept as rows of plain data. Standard library only."""
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from engines import Llama, Nibble, drop_from_page_cache, read_whole
from environment import PeerError
from ggml_types import SPELLINGS
from model_names import ModelName


@dataclass(frozen=True)
class Settings:
    rounds: int
    threads: list[int]
    prompt: int
    generate: int
    depths: list[int]
    kv: list[str]           # "16": each engine's own; "8": int8 and q8_0
    activations: list[str]  # of nibble

    def speed_tests(self) -> list[tuple[str, int, int]]:
        """(kv, prompt, depth) of each process. The prompt is measured once, beside the first depth; an 8-bit cache where there is
        something in it."""
        tests = []
        for kv in self.kv:
            depths = self.depths if kv == "16" else [d for d in self.depths if d > 0] or self.depths
            tests += [(kv, self.prompt if kv == "16" and depth == self.depths[0] else 0, depth) for depth in depths]
        return tests


@dataclass
class Results:
    """`rows`: round, model, threads, engine (nibble, llama.cpp, machine), activations, kv, test, value, and others: cores that
    other work took meanwhile. Tests: prompt and decode@DEPTH (tok/s), first-{cold,warm,cached-cold,cached-warm} (s), peak
    (bytes), read (GB/s), fma (GFLOP/s)."""
    machine: dict[str, Any]
    versions: dict[str, Any]
    settings: dict[str, Any]
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        unfinished = path.with_name(path.name + ".unfinished")
        unfinished.write_text(json.dumps(asdict(self), indent=1) + "\n")
        unfinished.rename(path)

    @staticmethod
    def load(path: Path) -> "Results":
        try:
            results = Results(**json.loads(path.read_text()))
            for row in results.rows:
                _ = [row[key] for key in ("round", "engine", "test", "value", "others")]
            return results
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise PeerError(f"{path}: no results of this program ({error}); name a file that compare.py wrote") from error


def model_facts(name: ModelName, folder: Path) -> dict[str, Any]:
    """What the report needs to know of a model."""
    shape, peer = name.shape, name.peer
    return {"peer": str(peer), "note": SPELLINGS[name.kind].note if name.is_hub else "", "read_bytes": name.read_bytes(folder),
            "peer_read_bytes": peer.read_bytes(folder), "file_bytes": sum(file.stat().st_size for file in name.files(folder)),
            "linear_weights": shape.linear_weights, "kv_elements": {}}


class Comparison:
    def __init__(self, results: Results, settings: Settings, nibbles: list[Nibble], llama: Llama, work: Path) -> None:
        self.results, self.settings, self.nibbles, self.llama = results, settings, nibbles, llama
        self.models_folder, self.pack_cache = work / "models", work / "pack-cache"
        self.broken: set[tuple[str, str, str]] = set()
        self.round = 0

    def _add(self, model: ModelName, threads: int, engine: Nibble | Llama | None, kv: str, test: str, value: float,
             others: float) -> None:
        """engine None: of the machine."""
        self.results.rows.append({"round": self.round, "model": str(model), "threads": threads,
                                  "engine": engine.name if engine else "machine",
                                  "activations": engine.activations if engine else "", "kv": kv, "test": test, "value": value,
                                  "others": round(others, 3)})

    def _try(self, model: ModelName, engine: Nibble | Llama, what: str, measure: Callable[[], None]) -> None:
        """What fails once is not tried again."""
        label = f"{engine.name} {engine.activations}".strip()
        subject = model if isinstance(engine, Nibble) else model.peer
        key = (str(subject), label, what)
        if key in self.broken:
            return
        try:
            measure()
        except PeerError as error:
            self.broken.add(key)
            self.results.failures.append({"model": str(subject), "engine": label, "what": what, "message": str(error)})
            print(f"\n{subject}, {label}, {what}: {error}", file=sys.stderr)

    def _in_turn(self) -> list[Nibble | Llama]:
        engines: list[Nibble | Llama] = [*self.nibbles, self.llama]
        return engines if self.round % 2 else engines[::-1]

    def _path(self, model: ModelName, engine: Nibble | Llama) -> Path:
        return (model if isinstance(engine, Nibble) else model.peer).path(self.models_folder)

    def _speed(self, model: ModelName, engine: Nibble | Llama, threads: int, kv: str, prompt: int, depth: int) -> None:
        speed = engine.speed(self._path(model, engine), threads, prompt, self.settings.generate, depth, kv)
        if speed.prompt_tok_s is not None:
            self._add(model, threads, engine, kv, "prompt", speed.prompt_tok_s, speed.others)
        if speed.decode_tok_s is not None:
            self._add(model, threads, engine, kv, f"decode@{depth}", speed.decode_tok_s, speed.others)
        facts = self.results.models[str(model)]
        facts.setdefault("kv_types", {})[f"{engine.name} {kv}"] = speed.kv_type
        facts.setdefault("notes", {})[engine.name] = speed.notes
        facts["kv_elements"][f"decode@{depth}"] = model.shape.kv_elements(max(depth, 1), self.settings.generate)
        self._say(engine, f"{speed.prompt_tok_s or speed.decode_tok_s:.1f}")

    def _say(self, engine: Nibble | Llama, text: str) -> None:
        print(f" {engine.name} {text}", end="", file=sys.stderr, flush=True)

    def _begin(self, model: ModelName, threads: int, what: str) -> None:
        print(f"\nround {self.round}  {model}  {threads} threads  {what}:", end="", file=sys.stderr, flush=True)

    def _speeds(self, model: ModelName, threads: int) -> None:
        roof, finished = self.nibbles[0].roofline(threads)
        self._add(model, threads, None, "", "read", roof["read_gb_s"], finished.others)
        self._add(model, threads, None, "", "fma", roof["fma_gflop_s"], finished.others)
        for kv, prompt, depth in self.settings.speed_tests():
            what = f"{'prompt, ' if prompt else ''}decode at {depth}, {kv}-bit K/V"
            self._begin(model, threads, what)
            for engine in self._in_turn():
                self._try(model, engine, what, partial(self._speed, model, engine, threads, kv, prompt, depth))

    def _first(self, model: ModelName, engine: Nibble | Llama, threads: int, cold: bool, cache: Path | None = None) -> None:
        subject = model if isinstance(engine, Nibble) else model.peer
        files = subject.files(self.models_folder) + (sorted(p for p in cache.rglob("*") if p.is_file()) if cache else [])
        (drop_from_page_cache if cold else read_whole)(files)
        if isinstance(engine, Nibble):
            done = engine.first_token(self._path(model, engine), threads, cache)
        else:
            done = engine.first_token(self._path(model, engine), threads)
        test = f"first-{'cached-' if cache else ''}{'cold' if cold else 'warm'}"
        self._add(model, threads, engine, "16", test, done.seconds, done.others)
        self._say(engine, f"{'cached ' if cache else ''}{done.seconds:.2f} s")

    def _fill_pack_cache(self, model: ModelName, engine: Nibble, threads: int) -> Path:
        cache = self.pack_cache / f"{model.shape.name}-{model.kind}-{engine.activations}"
        if not cache.exists():
            cache.mkdir(parents=True)
            try:
                engine.first_token(self._path(model, engine), threads, cache)
            except PeerError:
                shutil.rmtree(cache)
                raise
        return cache

    def _first_cached(self, model: ModelName, engine: Nibble, threads: int, cold: bool) -> None:
        self._first(model, engine, threads, cold, self._fill_pack_cache(model, engine, threads))

    def _loads(self, model: ModelName, threads: int) -> None:
        for cold in (True, False):
            self._begin(model, threads, f"first token, {'cold' if cold else 'warm'}")
            for engine in self._in_turn():
                self._try(model, engine, "first token", partial(self._first, model, engine, threads, cold))
                if isinstance(engine, Nibble):
                    self._try(model, engine, "first token with the pack cache",
                              partial(self._first_cached, model, engine, threads, cold))

    def _peaks(self, model: ModelName, threads: int) -> None:
        self._begin(model, threads, "peak memory")

        def peak(engine: Nibble | Llama) -> None:
            done = engine.peak(self._path(model, engine), threads)
            value = done.peak_bytes
            if isinstance(engine, Llama):
                value -= engine.idle()[1].peak_bytes
            self._add(model, threads, engine, "16", "peak", value, done.others)
            self._say(engine, f"{value / 2**20:.0f} MiB")
        for engine in self._in_turn():
            self._try(model, engine, "peak memory", partial(peak, engine))

    def run(self, models: list[ModelName], out: Path) -> None:
        """All rounds; the rows so far are saved after each."""
        shutil.rmtree(self.pack_cache, ignore_errors=True)  # another build may have packed otherwise
        for name in models:
            self.results.models.setdefault(str(name), model_facts(name, self.models_folder))
        for self.round in range(1, self.settings.rounds + 1):
            start = time.monotonic()
            for model in models:
                for threads in self.settings.threads:
                    self._speeds(model, threads)
                self._loads(model, max(self.settings.threads))
                self._peaks(model, max(self.settings.threads))
            self.results.save(out)
            print(f"\nround {self.round} of {self.settings.rounds}: {time.monotonic() - start:.0f} s", file=sys.stderr)
        shutil.rmtree(self.pack_cache, ignore_errors=True)
