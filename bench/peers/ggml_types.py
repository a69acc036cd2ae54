# SPDX-License-Identifier: Apache-2.0
"""Blocks of ggml's types as bytes, and where their scales stand. Standard library only.

A block of uniform codes is random bytes with the scales put in afterwards: every other bit of every type is a code, a sub-scale or
an index into a full table, so any value is legal. The exceptions have a `kind` of their own.
"""
from dataclasses import dataclass

WEIGHT_RMS = 0.02  # of the decoded weights; logits of both shapes stay in a usual range


@dataclass(frozen=True)
class BlockType:
    """`scales`: (offset in the block, value) of f16 fields; values are of a block whose decoded weights have rms WEIGHT_RMS.
    `byte_scales`: offsets of scales of one byte, which are drawn from `byte_range`, both ends included."""
    name: str
    elements: int
    size: int
    scales: tuple[tuple[int, float], ...] = ()
    kind: str = "blocks"
    byte_scales: tuple[int, ...] = ()
    byte_range: tuple[int, int] = (0, 0)

    def bytes_of(self, weights: int) -> int:
        return weights // self.elements * self.size


def _plain(name: str, size: int) -> BlockType:
    return BlockType(name, 1, size, kind="numbers")


def _scaled(name: str, elements: int, size: int, offset: int, code_rms: float) -> BlockType:
    """code_rms: rms of what the block's f16 scale multiplies, for uniform codes and sub-scales."""
    return BlockType(name, elements, size, ((offset, WEIGHT_RMS / code_rms),))


def _shifted(name: str, elements: int, size: int, offsets: tuple[int, int], code_rms: float, minimum: float) -> BlockType:
    """A type with minima: the second scale is `minimum` times the first, which centers uniform codes on zero."""
    d = WEIGHT_RMS / code_rms
    return BlockType(name, elements, size, ((offsets[0], d), (offsets[1], minimum * d)))


_ALL = (
    _plain("f32", 4),
    _plain("f16", 2),
    _plain("bf16", 2),
    _scaled("q4_0", 32, 18, 0, 4.6),
    _shifted("q4_1", 32, 20, (0, 2), 4.6, -7.5),
    _scaled("q5_0", 32, 22, 0, 9.2),
    _shifted("q5_1", 32, 24, (0, 2), 9.2, -15.5),
    _scaled("q8_0", 32, 34, 0, 73.9),
    _shifted("q2_k", 256, 84, (80, 82), 13.9, 1.5),
    _scaled("q3_k", 256, 110, 108, 43.4),
    _shifted("q4_k", 256, 144, (0, 2), 258.0, 7.5),
    _shifted("q5_k", 256, 176, (0, 2), 527.0, 15.5),
    _scaled("q6_k", 256, 210, 208, 1367.0),
    _scaled("iq2_xxs", 256, 66, 0, 46.0),
    _scaled("iq2_xs", 256, 74, 0, 46.0),
    _scaled("iq2_s", 256, 82, 0, 46.0),
    _scaled("iq3_xxs", 256, 98, 0, 138.0),
    _scaled("iq3_s", 256, 110, 0, 165.0),
    _scaled("iq1_s", 256, 50, 0, 6.5),
    # iq1_m has no field for its scale: the f16's nibbles are the highest of four 16-bit words of sub-scales.
    BlockType("iq1_m", 256, 56, ((48, WEIGHT_RMS / 6.5),), "f16 scale in nibbles"),
    _scaled("iq4_nl", 32, 18, 0, 65.0),
    _scaled("iq4_xs", 256, 136, 0, 1200.0),
    # Ternary codes are digits: a byte of tq1_0 holds five of base 3, two bits of tq2_0 must not be 3.
    BlockType("tq1_0", 256, 54, ((52, WEIGHT_RMS / 0.82),), "ternary digits"),
    BlockType("tq2_0", 256, 66, ((64, WEIGHT_RMS / 0.82),), "ternary pairs"),
    # Scales of one byte: exponents, and unsigned e4m3 codes (in their subnormal range, since no second scale stands above them).
    BlockType("mxfp4", 32, 17, byte_scales=(0,), byte_range=(119, 121)),
    BlockType("nvfp4", 64, 36, byte_scales=(0, 1, 2, 3), byte_range=(3, 7)),
    _scaled("q1_0", 128, 18, 0, 1.0),
)
GGML_TYPES = {block.name: block for block in _ALL}


@dataclass(frozen=True)
class Spelling:
    """A hub checkpoint. nearest: the ggml type that stands beside it; note: what is stored, for the report."""
    name: str
    nearest: str
    note: str


_SPELLINGS = (
    Spelling("gptq-int4", "q4_0", "GPTQ, int4, groups of 128, symmetric"),
    Spelling("gptq-int8", "q8_0", "GPTQ, int8, groups of 128, symmetric"),
    Spelling("awq-int4", "q4_1", "AWQ, int4, groups of 128, zero points"),
    Spelling("ct-w4a16", "q4_0", "compressed-tensors, int4, groups of 128"),
    Spelling("ct-w8a16", "q8_0", "compressed-tensors, int8, groups of 128"),
    Spelling("ct-w8a8", "q8_0", "compressed-tensors, int8 by row, activations int8 by token"),
    Spelling("ct-fp8", "q8_0", "compressed-tensors, e4m3 by row, activations e4m3 by token"),
    Spelling("fp8-block", "q8_0", "e4m3, blocks of 128 x 128, activations e4m3 by 128"),
    Spelling("bnb-nf4", "iq4_nl", "bitsandbytes, nf4, blocks of 64"),
    Spelling("bnb-int8", "q8_0", "bitsandbytes, LLM.int8"),
    Spelling("ct-mxfp4", "mxfp4", "compressed-tensors, MXFP4, activations as they are"),
    Spelling("ct-nvfp4", "nvfp4", "compressed-tensors, NVFP4, activations as they are"),
    Spelling("modelopt-nvfp4", "nvfp4", "ModelOpt, NVFP4, activations NVFP4"),
)
SPELLINGS = {spelling.name: spelling for spelling in _SPELLINGS}
