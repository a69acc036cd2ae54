# SPDX-License-Identifier: Apache-2.0
"""A random-weight Llama as a GGUF file, every matrix of one ggml type, the embedding tied to the head. Needs numpy and gguf."""
from pathlib import Path

import gguf
import numpy as np

from block_bytes import random_blocks
from ggml_types import BlockType
from shapes import Matrix, Shape, matrices, norms

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # token types of a SentencePiece vocabulary


def _gguf_type(block: BlockType) -> gguf.GGMLQuantizationType:
    try:
        kind = gguf.GGMLQuantizationType[block.name.upper()]
    except KeyError as error:
        version = getattr(gguf, "__version__", "of this environment")
        raise SystemExit(f"type {block.name}: the package gguf {version} does not know it; pip install -U gguf") from error
    if gguf.GGML_QUANT_SIZES[kind] != (block.elements, block.size):
        raise SystemExit(f"type {block.name}: blocks of {(block.elements, block.size)} elements and bytes here, "
                         f"{gguf.GGML_QUANT_SIZES[kind]} in the package gguf; correct ggml_types.py")
    return kind


def _add_settings(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name(f"random {shape.name}")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocab)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    """The least that a SentencePiece tokenizer is: three special tokens, the 256 bytes, words to fill up."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256
    words = range(len(tokens), size)
    tokens += [f"\u2581w{i}" for i in words]
    types += [NORMAL] * len(words)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(size)])
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write_gguf(path: Path, shape: Shape, block: BlockType) -> None:
    kind = _gguf_type(block)
    all_matrices = [Matrix("token_embd", "model.embed_tokens", shape.vocab, shape.hidden), *matrices(shape)]
    all_norms = [name for name, _ in norms(shape)]
    writer = gguf.GGUFWriter(path, "llama")
    _add_settings(writer, shape)
    _add_vocabulary(writer, shape.vocab)
    for matrix in all_matrices:
        row_bytes = block.bytes_of(matrix.columns)
        # The package wants a quantized shape in bytes, [rows, bytes of a row], and makes elements of it.
        writer.add_tensor_info(matrix.gguf + ".weight", (matrix.rows, row_bytes), np.dtype(np.uint8), matrix.rows * row_bytes, kind)
    for name in all_norms:
        writer.add_tensor_info(name + ".weight", (shape.hidden,), np.dtype(np.float32), 4 * shape.hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.Generator(np.random.SFC64(1))
    for matrix in all_matrices:
        writer.write_tensor_data(random_blocks(rng, block, matrix.rows * matrix.columns))
    for _ in all_norms:
        writer.write_tensor_data(np.ones(shape.hidden, np.float32))
    writer.close()
