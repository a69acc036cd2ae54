# SPDX-License-Identifier: Apache-2.0
"""Random blocks of ggml types: uniform codes under sane scales. Needs numpy."""
from itertools import product

import numpy as np

from ggml_types import WEIGHT_RMS, BlockType


def uniform_floats(rng: np.random.Generator, count: int) -> np.ndarray:
    """f32 [count] between -s and s with rms WEIGHT_RMS."""
    width = WEIGHT_RMS * 3**0.5
    return (rng.random(count, dtype=np.float32) * 2 - 1) * np.float32(width)


def to_bf16(values: np.ndarray) -> np.ndarray:
    """The nearest bf16 as u16; values are finite and small, so rounding up cannot overflow."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _numbers(rng: np.random.Generator, block: BlockType, count: int) -> np.ndarray:
    values = uniform_floats(rng, count)
    stored = {"f32": lambda: values, "f16": lambda: values.astype(np.float16), "bf16": lambda: to_bf16(values)}[block.name]()
    return stored.view(np.uint8)


def _scales(rng: np.random.Generator, count: int) -> np.ndarray:
    """A factor a block, within a quarter of one: real scales differ, and equal ones might please a branch predictor."""
    return rng.random(count, dtype=np.float32) * np.float32(0.5) + np.float32(0.75)


def _put_nibbles(blocks: np.ndarray, offset: int, scales: np.ndarray) -> None:
    """Nibble i of each f16 becomes the highest of the i-th 16-bit word at `offset`."""
    bits = scales.view(np.uint16)
    for i in range(4):
        high = blocks[:, offset + 2 * i + 1]
        blocks[:, offset + 2 * i + 1] = (high & 0x0F) | (((bits >> (4 * i)) & 0x0F) << 4).astype(np.uint8)


def _ternary_digits(rng: np.random.Generator, blocks: np.ndarray) -> None:
    """Five base-3 digits a byte in 48 bytes, four in the next four, each as a fixed-point fraction of 256 rounded up."""
    digits = rng.integers(0, 3**5, (len(blocks), 52), dtype=np.uint16)
    digits[:, 48:] -= digits[:, 48:] % 3  # the lowest digit of the last four bytes is not used
    blocks[:, :52] = ((digits.astype(np.uint32) * 256 + 242) // 243).astype(np.uint8)


def _ternary_pairs(rng: np.random.Generator, blocks: np.ndarray) -> None:
    """Four two-bit codes a byte, each 0, 1 or 2."""
    table = np.array([sum(digit << 2 * i for i, digit in enumerate(digits)) for digits in product(range(3), repeat=4)], np.uint8)
    blocks[:, :64] = table[rng.integers(0, len(table), (len(blocks), 64))]


def random_blocks(rng: np.random.Generator, block: BlockType, weights: int) -> np.ndarray:
    """u8 [bytes of `weights` elements]; `weights` is a multiple of the block's."""
    if weights % block.elements:
        raise ValueError(f"{block.name}: {weights} weights are no whole number of blocks of {block.elements}; give a multiple")
    if block.kind == "numbers":
        return _numbers(rng, block, weights)
    count = weights // block.elements
    blocks = rng.integers(0, 256, (count, block.size), dtype=np.uint8)
    for offset in block.byte_scales:
        blocks[:, offset] = rng.integers(block.byte_range[0], block.byte_range[1], count, dtype=np.uint8, endpoint=True)
    if block.kind == "ternary digits":
        _ternary_digits(rng, blocks)
    if block.kind == "ternary pairs":
        _ternary_pairs(rng, blocks)
    factor = _scales(rng, count)
    for offset, value in block.scales:
        scales = (factor * np.float32(value)).astype(np.float16)
        if block.kind == "f16 scale in nibbles":
            _put_nibbles(blocks, offset, scales)
        else:
            blocks[:, offset:offset + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(-1)
