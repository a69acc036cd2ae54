# SPDX-License-Identifier: Apache-2.0
"""How hub checkpoints spell one matrix, and the settings that stand in config.json. Needs numpy.

Scales are such that decoded weights have an rms near WEIGHT_RMS under uniform codes.
"""
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from block_bytes import to_bf16
from ggml_types import WEIGHT_RMS

Make = Callable[[np.random.Generator, int], np.ndarray]
ITEM_BYTES = {"U8": 1, "I8": 1, "F8_E4M3": 1, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "I64": 8}


@dataclass(frozen=True)
class Tensor:
    """make(rng, n): the next n elements; with `whole` it is called once, for all of them."""
    name: str
    dtype: str
    shape: tuple[int, ...]
    make: Make
    whole: bool = False

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def item_bytes(self) -> int:
        return ITEM_BYTES[self.dtype]

    def named(self, name: str) -> "Tensor":
        return replace(self, name=name)


def _codes(name: str, dtype: str, *shape: int) -> Tensor:
    """Uniform bits."""
    size = ITEM_BYTES[dtype]
    return Tensor(name, dtype, shape, lambda rng, n: rng.integers(0, 256, n * size, dtype=np.uint8).view(f"u{size}"))


def _fp8_codes(name: str, *shape: int) -> Tensor:
    """Uniform e4m3 codes but for the two that are NaN."""
    def make(rng: np.random.Generator, n: int) -> np.ndarray:
        codes = rng.integers(0, 256, n, dtype=np.uint8)
        return np.where((codes & 0x7F) == 0x7F, codes - 1, codes).astype(np.uint8)
    return Tensor(name, "F8_E4M3", shape, make)


def _scales(name: str, dtype: str, code_rms: float, *shape: int) -> Tensor:
    def make(rng: np.random.Generator, n: int) -> np.ndarray:
        values = (rng.random(n, dtype=np.float32) * np.float32(0.5) + np.float32(0.75)) * np.float32(WEIGHT_RMS / code_rms)
        return to_bf16(values) if dtype == "BF16" else values.astype({"F16": np.float16, "F32": np.float32}[dtype])
    return Tensor(name, dtype, shape, make)


def _byte_range(name: str, dtype: str, low: int, high: int, *shape: int) -> Tensor:
    return Tensor(name, dtype, shape, lambda rng, n: rng.integers(low, high, n, dtype=np.uint8, endpoint=True))


def _same(name: str, dtype: str, value: float, *shape: int) -> Tensor:
    kind = {"I32": np.int32, "F32": np.float32}[dtype]
    return Tensor(name, dtype, shape, lambda rng, n: np.full(n, value, kind))


def _fixed(name: str, dtype: str, values: np.ndarray, *shape: int) -> Tensor:
    return Tensor(name, dtype, shape or (len(values),), lambda rng, n: values, whole=True)


def _gptq(bits: int) -> Callable[[int, int], list[Tensor]]:
    zero = {4: 0x77777777, 8: 0x7F7F7F7F}[bits]  # the middle less one, as this format stores it
    return lambda n, k: [
        _codes("qweight", "I32", k * bits // 32, n), _same("qzeros", "I32", zero, k // 128, n * bits // 32),
        _scales("scales", "F16", {4: 4.6, 8: 73.9}[bits], k // 128, n),
        _fixed("g_idx", "I32", (np.arange(k) // 128).astype(np.int32))]


def _awq(n: int, k: int) -> list[Tensor]:
    return [_codes("qweight", "I32", k, n // 8), _codes("qzeros", "I32", k // 128, n // 8),
            _scales("scales", "F16", 6.5, k // 128, n)]


def _pack_quantized(bits: int) -> Callable[[int, int], list[Tensor]]:
    return lambda n, k: [
        _codes("weight_packed", "I32", n, k * bits // 32), _scales("weight_scale", "BF16", {4: 4.6, 8: 73.9}[bits], n, k // 128),
        _fixed("weight_shape", "I64", np.array([n, k], np.int64))]


def _int8_rows(n: int, k: int) -> list[Tensor]:
    return [_codes("weight", "I8", n, k), _scales("weight_scale", "BF16", 73.9, n, 1)]


FP8_RMS = 110.0  # of uniform e4m3 codes


def _fp8_rows(n: int, k: int) -> list[Tensor]:
    return [_fp8_codes("weight", n, k), _scales("weight_scale", "BF16", FP8_RMS, n, 1)]


def _fp8_blocks(n: int, k: int) -> list[Tensor]:
    return [_fp8_codes("weight", n, k), _scales("weight_scale_inv", "F32", FP8_RMS, -(-n // 128), -(-k // 128))]


NF4 = (-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0)


def _nf4(n: int, k: int) -> list[Tensor]:
    state = json.dumps({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [n, k]}).encode()
    return [_codes("weight", "U8", n * k // 2, 1), _scales("weight.absmax", "F32", 0.53, n * k // 64),
            _fixed("weight.quant_map", "F32", np.array(NF4, np.float32)),
            _fixed("weight.quant_state.bitsandbytes__nf4", "U8", np.frombuffer(state, np.uint8))]


def _llm_int8(n: int, k: int) -> list[Tensor]:
    return [_codes("weight", "I8", n, k), _scales("SCB", "F32", 73.9 / 127, n)]


def _mxfp4(n: int, k: int) -> list[Tensor]:
    return [_codes("weight_packed", "U8", n, k // 2), _byte_range("weight_scale", "U8", 119, 121, n, k // 32)]


# NVFP4: block scales between 8 and 30 under a second scale of 1 / 2000.
def _nvfp4_compressed(n: int, k: int) -> list[Tensor]:
    return [_codes("weight_packed", "U8", n, k // 2), _byte_range("weight_scale", "F8_E4M3", 0x50, 0x5F, n, k // 16),
            _same("weight_global_scale", "F32", 2000.0, 1)]


def _nvfp4_modelopt(n: int, k: int) -> list[Tensor]:
    return [_codes("weight", "U8", n, k // 2), _byte_range("weight_scale", "F8_E4M3", 0x50, 0x5F, n, k // 16),
            _same("weight_scale_2", "F32", 1 / 2000.0), _same("input_scale", "F32", 1 / 500.0)]


TENSORS: dict[str, Callable[[int, int], list[Tensor]]] = {
    "gptq-int4": _gptq(4), "gptq-int8": _gptq(8), "awq-int4": _awq, "ct-w4a16": _pack_quantized(4), "ct-w8a16": _pack_quantized(8),
    "ct-w8a8": _int8_rows, "ct-fp8": _fp8_rows, "fp8-block": _fp8_blocks, "bnb-nf4": _nf4, "bnb-int8": _llm_int8,
    "ct-mxfp4": _mxfp4, "ct-nvfp4": _nvfp4_compressed, "modelopt-nvfp4": _nvfp4_modelopt,
}


def _gptq_config(bits: int) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": bits, "group_size": 128, "desc_act": False, "sym": True, "lm_head": True,
            "checkpoint_format": "gptq"}


def _compressed(form: str, weights: dict[str, Any], inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": {"dynamic": False, "symmetric": True, **weights}, "input_activations": inputs,
             "output_activations": None}
    return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed", "ignore": [],
            "config_groups": {"group_0": group}, "kv_cache_scheme": None}


def _by_token(kind: str) -> dict[str, Any]:
    return {"num_bits": 8, "type": kind, "strategy": "token", "dynamic": True, "symmetric": True}


CONFIGS: dict[str, dict[str, Any]] = {
    "gptq-int4": _gptq_config(4),
    "gptq-int8": _gptq_config(8),
    "awq-int4": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm", "lm_head": True},
    "ct-w4a16": _compressed("pack-quantized", {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}),
    "ct-w8a16": _compressed("pack-quantized", {"num_bits": 8, "type": "int", "strategy": "group", "group_size": 128}),
    "ct-w8a8": _compressed("int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel"}, _by_token("int")),
    "ct-fp8": _compressed("float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel"}, _by_token("float")),
    "fp8-block": {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [128, 128]},
    "bnb-nf4": {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": False, "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": "uint8",
                "llm_int8_skip_modules": []},
    "bnb-int8": {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True, "llm_int8_threshold": 6.0,
                 "llm_int8_skip_modules": []},
    "ct-mxfp4": _compressed("mxfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32,
                                                     "scale_dtype": "torch.uint8"}),
    "ct-nvfp4": _compressed("nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16,
                                                     "scale_dtype": "torch.float8_e4m3fn"}),
    "modelopt-nvfp4": {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": [], "producer": {"name": "modelopt"}},
}
