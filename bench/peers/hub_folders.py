# SPDX-License-Identifier: Apache-2.0
"""A random-weight Llama as a hub folder: config.json and one safetensors file, the head untied and spelled like the layers.
Needs numpy."""
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import BinaryIO

import numpy as np

from block_bytes import uniform_floats, to_bf16
from hub_spellings import CONFIGS, TENSORS, Tensor
from shapes import Matrix, Shape, matrices, norms

CHUNK = 1 << 24  # elements made at once: keeps the memory of making a model small


def _bf16(name: str, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name, "BF16", shape, lambda rng, count: to_bf16(uniform_floats(rng, count)))


def _ones(name: str, count: int) -> Tensor:
    return Tensor(name, "BF16", (count,), lambda rng, n: to_bf16(np.ones(n, np.float32)))


def _tensors(shape: Shape, spelling: str) -> Iterator[Tensor]:
    yield _bf16("model.embed_tokens.weight", (shape.vocab, shape.hidden))
    for matrix in [*matrices(shape), Matrix("output", "lm_head", shape.vocab, shape.hidden)]:
        for tensor in TENSORS[spelling](matrix.rows, matrix.columns):
            yield tensor.named(f"{matrix.hub}.{tensor.name}")
    for _, name in norms(shape):
        yield _ones(name + ".weight", shape.hidden)


def _write_data(file: BinaryIO, tensor: Tensor, rng: np.random.Generator) -> None:
    left = tensor.elements
    while left > 0:
        count = left if tensor.whole else min(left, CHUNK)
        data = np.ascontiguousarray(tensor.make(rng, count))
        if data.size != count or data.itemsize != tensor.item_bytes:
            raise ValueError(f"{tensor.name}: made {data.size} of {data.itemsize} bytes, wanted {count} of {tensor.item_bytes}")
        file.write(data.tobytes())
        left -= count


def _write_safetensors(path: Path, tensors: list[Tensor]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.elements * tensor.item_bytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.Generator(np.random.SFC64(1))
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            _write_data(file, tensor, rng)


def _config(shape: Shape, spelling: str) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu",
        "hidden_size": shape.hidden, "intermediate_size": shape.ffn, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "vocab_size": shape.vocab,
        "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False, "quantization_config": CONFIGS[spelling],
    }


def write_hub_folder(folder: Path, shape: Shape, spelling: str) -> None:
    """`folder` exists. 8-byte items come first, so that each tensor stands on a multiple of its item's size."""
    tensors = sorted(_tensors(shape, spelling), key=lambda tensor: -tensor.item_bytes)
    _write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(_config(shape, spelling), indent=1) + "\n")
