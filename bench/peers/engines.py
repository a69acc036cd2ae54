# SPDX-License-Identifier: Apache-2.0
"""The two engines behind one face: each measurement is a process, awaited with its peak memory. Standard library only."""
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from environment import PeerError

DRIVER = Path(__file__).with_name("llama_run.py")
MEMORY_PROMPT, MEMORY_ANSWER = 512, 128
WARM_UP = 32         # tokens of both engines before a speed is taken
FIRST_CONTEXT = 512  # positions of a process that only gives a first token


@dataclass(frozen=True)
class Finished:
    stdout: str
    seconds: float
    peak_bytes: int  # of resident memory, file pages that are mapped included
    others: float    # cores that others took meanwhile: processes, and the host of a virtual machine


@dataclass(frozen=True)
class Speed:
    prompt_tok_s: float | None
    decode_tok_s: float | None
    kv_type: str
    notes: dict[str, Any]
    others: float


def _busy_seconds() -> float:
    """Of all cores since the system started: user, nice, system, interrupts and what the host stole."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / os.sysconf("SC_CLK_TCK")


def run_process(command: list[str]) -> Finished:
    """Raises PeerError with the end of stderr. The peak is Linux's ru_maxrss, which counts the parent's memory until the new
    program starts: this process imports no large library, so that it stays below every engine's own peak."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start, busy = time.perf_counter(), _busy_seconds()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        seconds = time.perf_counter() - start
        others = max(0.0, _busy_seconds() - busy - usage.ru_utime - usage.ru_stime) / seconds
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode != 0:
            lines = [line for line in err.read().decode("utf-8", "replace").splitlines() if line.strip()]
            raise PeerError(f"exit status {child.returncode} of {' '.join(command)}\n  " + "\n  ".join(lines[-6:]))
        return Finished(out.read().decode("utf-8", "replace"), seconds, usage.ru_maxrss * 1024, others)


def _last_json(finished: Finished, command: list[str]) -> dict[str, Any]:
    lines = finished.stdout.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        raise PeerError(f"no JSON at the end of what {' '.join(command)} printed: {finished.stdout[-200:]!r}") from error


def drop_from_page_cache(files: list[Path]) -> None:
    """Written back, then given up by the system (POSIX_FADV_DONTNEED). Caches below it, a disk's or a host's, are not reached."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def read_whole(files: list[Path]) -> None:
    """Brings the files into the page cache."""
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 22):
                pass


@dataclass(frozen=True)
class Nibble:
    """activations: the value of --activations."""
    program: Path
    activations: str
    name: str = "nibble"

    KV = {"16": "auto", "8": "int8"}

    def _json(self, command: list[str]) -> tuple[dict[str, Any], Finished]:
        finished = run_process(command)
        return _last_json(finished, command), finished

    def roofline(self, threads: int) -> tuple[dict[str, Any], Finished]:
        return self._json([str(self.program), "bench", "--roofline", "--json", "--threads", str(threads)])

    def speed(self, model: Path, threads: int, prompt: int, generate: int, depth: int, kv: str) -> Speed:
        # Also where no prompt is measured: bench warms up with as many tokens of it, 32 at most, and not at all with none.
        said, finished = self._json([str(self.program), "bench", str(model), "-p", str(prompt or WARM_UP), "-n", str(generate),
                                     "-d", str(depth), "-r", "1", "--threads", str(threads), "--json",
                                     "--activations", self.activations, "--kv-cache-dtype", self.KV[kv]])
        return Speed(said["prefill"]["tok_s"]["median"] if prompt else None,
                     said["decode"]["tok_s"]["median"] if generate else None, said["kv_cache_dtype"],
                     {key: said[key] for key in ("packed_bytes", "isa", "method")}, finished.others)

    def _generate(self, model: Path, threads: int, ids: list[int], count: int, context: int, extra: list[str]) -> Finished:
        return run_process([str(self.program), "run", str(model), "--prompt-ids", ",".join(map(str, ids)), "--ids", "--ignore-eos",
                            "--temperature", "0", "--max-tokens", str(count), "--context", str(context), "--threads", str(threads),
                            "--activations", self.activations, *extra])

    def first_token(self, model: Path, threads: int, pack_cache: Path | None = None) -> Finished:
        extra = ["--pack-cache", str(pack_cache)] if pack_cache else []
        return self._generate(model, threads, [1], 1, FIRST_CONTEXT, extra)

    def peak(self, model: Path, threads: int) -> Finished:
        ids = [(i * 7919 + 1) % 32000 for i in range(MEMORY_PROMPT)]
        return self._generate(model, threads, ids, MEMORY_ANSWER, MEMORY_PROMPT + MEMORY_ANSWER, [])


@dataclass(frozen=True)
class Llama:
    """Through Python, whose own start and memory are measured (idle) and taken off."""
    python: Path
    name: str = "llama.cpp"
    activations: str = ""  # it has no choice

    KV = {"16": "f16", "8": "q8_0"}

    def _run(self, what: str, *arguments: str) -> tuple[dict[str, Any], Finished]:
        command = [str(self.python), str(DRIVER), what, *arguments]
        finished = run_process(command)
        said = _last_json(finished, command)
        if said.get("logits_finite") is False:
            raise PeerError(f"logits are no numbers after {' '.join(command)}; the model's scales do not suit this engine")
        return said, finished

    def idle(self) -> tuple[dict[str, Any], Finished]:
        return self._run("idle")

    def speed(self, model: Path, threads: int, prompt: int, generate: int, depth: int, kv: str) -> Speed:
        said, finished = self._run("speed", str(model), "--threads", str(threads), "--prompt", str(prompt),
                                   "--generate", str(generate), "--depth", str(depth), "--kv", self.KV[kv])
        notes = {key: said[key] for key in ("flash_attention", "system", "model_bytes")}
        return Speed(said.get("prompt_tok_s"), said.get("decode_tok_s"), self.KV[kv], notes, finished.others)

    def first_token(self, model: Path, threads: int) -> Finished:
        """Its seconds begin with the first call of the library, so that Python's start is not in them."""
        said, finished = self._run("first", str(model), "--threads", str(threads), "--batch", str(FIRST_CONTEXT))
        return replace(finished, seconds=float(said["first_token_s"]))

    def peak(self, model: Path, threads: int) -> Finished:
        return self._run("peak", str(model), "--threads", str(threads), "--prompt", str(MEMORY_PROMPT), "--generate",
                         str(MEMORY_ANSWER))[1]
