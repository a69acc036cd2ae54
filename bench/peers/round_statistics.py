# SPDX-License-Identifier: Apache-2.0
"""Medians, spreads and paired ratios over rounds. Standard library only."""
from dataclasses import dataclass
from statistics import median
from typing import Any

Row = dict[str, Any]
# Of an element of K or V; int8 has one f32 scale for a head of 64.
KV_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "fp8": 1.0, "q8_0": 34 / 32, "int8": 1 + 4 / 64}


@dataclass(frozen=True)
class Summary:
    """Of the values of rounds; spread is half the range."""
    median: float
    low: float
    high: float
    count: int

    @property
    def spread(self) -> float:
        return (self.high - self.low) / 2

    @staticmethod
    def of(values: list[float]) -> "Summary | None":
        return Summary(median(values), min(values), max(values), len(values)) if values else None


@dataclass(frozen=True)
class Pair:
    """One line of a table. ratio: the median of each round's nibble / llama.cpp; shares: medians of each round's share."""
    nibble: Summary | None
    llama: Summary | None
    ratio: Summary | None
    nibble_share: Summary | None
    llama_share: Summary | None


def by_round(rows: list[Row], **wanted: object) -> dict[int, float]:
    return {int(row["round"]): float(row["value"]) for row in rows if all(row[key] == value for key, value in wanted.items())}


def ratios(above: dict[int, float], below: dict[int, float]) -> list[float]:
    return [above[r] / below[r] for r in sorted(above.keys() & below.keys()) if below[r] > 0]


def read_bytes_per_token(facts: dict[str, Any], engine: str, kv: str, test: str) -> float:
    """Weights in the file and K/V, what one decoded token reads."""
    weights = float(facts["read_bytes" if engine == "nibble" else "peer_read_bytes"])
    kind = facts.get("kv_types", {}).get(f"{engine} {kv}", "f16")
    return weights + float(facts["kv_elements"].get(test, 0)) * KV_BYTES.get(kind, 2.0)


def work_per_token(facts: dict[str, Any], engine: str, kv: str, test: str, cache_bytes: int) -> float:
    """Bytes (decode) or floating-point operations (prompt). 0: no share is claimed, much of the weights may stay in the cache."""
    if test == "prompt":
        return 2.0 * float(facts["linear_weights"])
    weights = float(facts["read_bytes" if engine == "nibble" else "peer_read_bytes"])
    return 0.0 if weights < 2 * cache_bytes else read_bytes_per_token(facts, engine, kv, test)


def pair_of(rows: list[Row], facts: dict[str, Any], model: str, threads: int, activations: str, kv: str, test: str,
            cache_bytes: int) -> Pair:
    here = [row for row in rows if row["model"] == model and row["threads"] == threads]
    mine = by_round(here, engine="nibble", activations=activations, kv=kv, test=test)
    peer = by_round(here, engine="llama.cpp", kv=kv, test=test)
    speed = test == "prompt" or test.startswith("decode")
    limit = by_round(here, engine="machine", test="fma" if test == "prompt" else "read") if speed else {}

    def share(engine: str, values: dict[int, float]) -> Summary | None:
        work = work_per_token(facts, engine, kv, test, cache_bytes) if speed else 0.0
        return Summary.of([work * ratio / 1e9 for ratio in ratios(values, limit)]) if work > 0 else None
    return Pair(Summary.of(list(mine.values())), Summary.of(list(peer.values())), Summary.of(ratios(mine, peer)),
                share("nibble", mine), share("llama.cpp", peer))
