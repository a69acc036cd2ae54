# SPDX-License-Identifier: Apache-2.0
"""The two Llama shapes, their matrices, and what a token reads of them. Standard library only."""
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    name: str
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    vocab: int = 32000
    head_dim: int = 64
    context: int = 8192

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def linear_weights(self) -> int:
        """Elements of the layers' matrices, without the head."""
        return sum(m.rows * m.columns for m in matrices(self))

    @property
    def read_weights(self) -> int:
        """Elements that one decoded token reads: the layers and the head (of the embedding only one row)."""
        return self.linear_weights + self.vocab * self.hidden

    def kv_elements(self, depth: int, generated: int) -> float:
        """Elements of K and V that a token reads on average while `generated` tokens follow `depth` others."""
        return 2 * self.layers * self.kv_width * (depth + (generated + 1) / 2)


@dataclass(frozen=True)
class Matrix:
    """W [rows, columns] of y = x W^T, under its name in GGUF files and in hub folders."""
    gguf: str
    hub: str
    rows: int
    columns: int


SHAPES = {
    "110m": Shape("110m", layers=12, hidden=768, ffn=2048, heads=12, kv_heads=12),
    "1b": Shape("1b", layers=16, hidden=2048, ffn=8192, heads=32, kv_heads=8),
}


def matrices(shape: Shape) -> Iterator[Matrix]:
    """The layers' matrices, in the order in which the files have them."""
    h, q, kv, f = shape.hidden, shape.heads * shape.head_dim, shape.kv_width, shape.ffn
    for layer in range(shape.layers):
        g, m = f"blk.{layer}.", f"model.layers.{layer}."
        yield Matrix(g + "attn_q", m + "self_attn.q_proj", q, h)
        yield Matrix(g + "attn_k", m + "self_attn.k_proj", kv, h)
        yield Matrix(g + "attn_v", m + "self_attn.v_proj", kv, h)
        yield Matrix(g + "attn_output", m + "self_attn.o_proj", h, q)
        yield Matrix(g + "ffn_gate", m + "mlp.gate_proj", f, h)
        yield Matrix(g + "ffn_up", m + "mlp.up_proj", f, h)
        yield Matrix(g + "ffn_down", m + "mlp.down_proj", h, f)


def norms(shape: Shape) -> Iterator[tuple[str, str]]:
    """Names of the norms, each [hidden], in GGUF files and in hub folders."""
    for layer in range(shape.layers):
        yield f"blk.{layer}.attn_norm", f"model.layers.{layer}.input_layernorm"
        yield f"blk.{layer}.ffn_norm", f"model.layers.{layer}.post_attention_layernorm"
    yield "output_norm", "model.norm"
