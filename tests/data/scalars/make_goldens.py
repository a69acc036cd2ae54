#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the goldens of src/tensors/scalar_test.cc with numpy (f16) and ml_dtypes (everything else); see PROVENANCE.md."""
import pathlib
import struct

import ml_dtypes
import numpy as np

HERE = pathlib.Path(__file__).parent
SMALL = [("e4m3", ml_dtypes.float8_e4m3fn, 8), ("e5m2", ml_dtypes.float8_e5m2, 8), ("e3m2", ml_dtypes.float6_e3m2fn, 6),
         ("e2m3", ml_dtypes.float6_e2m3fn, 6), ("e2m1", ml_dtypes.float4_e2m1fn, 4), ("e8m0", ml_dtypes.float8_e8m0fnu, 8)]


def fnv(data):
    h = 0xcbf29ce484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return h


def decode(dtype, bits):
    return np.arange(1 << bits, dtype=np.uint8).view(dtype).astype(np.float32)


def encode_cases(dtype, bits):
    """(x, code): every midpoint of neighbours with both f32 neighbours, every code's value, edges; saturation by definition."""
    values = decode(dtype, bits)[: 1 << (bits - 1)]
    values = values[np.isfinite(values)]
    top = np.float32(values.max())
    middle = ((values[:-1].astype(np.float64) + values[1:]) / 2).astype(np.float32)
    x = np.concatenate([values, middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf)),
                        np.float32([1e-45, 1e-38, float(top) * 1.01, float(top) * 1.5, 3e38, np.inf])])
    x = np.concatenate([x, -x]).astype(np.float32)
    code = np.clip(x, -top, top).astype(dtype).view(np.uint8)
    return [(a, int(c)) for a, c in zip(x, code)]


def main():
    with open(HERE / "small_decode.bin", "wb") as f:
        for _, dtype, bits in SMALL:
            f.write(decode(dtype, bits).astype("<f4").tobytes())
    with open(HERE / "small_encode.bin", "wb") as f:
        for index, (_, dtype, bits) in enumerate(SMALL[:5]):
            for x, code in encode_cases(dtype, bits):
                f.write(struct.pack("<BfB", index, x, code))
    lines = []
    for name, dtype in [("f16", np.float16), ("bf16", ml_dtypes.bfloat16)]:
        codes = np.arange(65536, dtype=np.uint16)
        values = codes.view(dtype).astype(np.float32)
        bits = np.where(np.isnan(values), np.uint32(0x7fc00000), values.view(np.uint32)).astype("<u4")
        lines.append(f"{name} decode {fnv(bits.tobytes()):016x}")
        finite = values[:0x7c00] if name == "f16" else values[:0x7f80]
        after = np.append(finite[1:], np.float32(65536 if name == "f16" else np.inf))
        if name == "f16":
            middle = ((finite.astype(np.float64) + after) / 2).astype(np.float32)
        else:
            middle = ((np.arange(0x7f80, dtype=np.uint32) << 16) | 0x8000).view(np.float32)
        x = np.stack([finite, middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))], 1).reshape(-1)
        x = np.concatenate([x, -x]).astype(np.float32)
        with np.errstate(over="ignore"):
            lines.append(f"{name} encode {fnv(x.astype(dtype).view(np.uint16).astype('<u2').tobytes()):016x}")
    (HERE / "half_hashes.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines), np.__version__, ml_dtypes.__version__)


main()
