#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a llama2.c model (model.bin of version 0, tokenizer.bin) into a hub folder. Needs the standard library only.

    tools/convert_llama2c.py stories260K.bin tok512.bin OUT_FOLDER

model.bin: seven i32 (dim, hidden, layers, heads, kv heads, vocabulary, positions; a negative vocabulary means an lm_head of its own), then f32:
embedding, attention norms, wq, wk, wv, wo, ffn norms, w1 (gate), w2 (down), w3 (up), each over all layers; final norm; two rope tables; lm_head.
Rows of wq and wk are in interleaved rope order; the hub's order has the two halves of a head one after the other.
"""
import array
import json
import pathlib
import struct
import sys

BOS, EOS = "<s>", "</s>"


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 28
        self.dim, self.hidden, self.layers, self.heads, self.kv_heads, vocab, self.positions = struct.unpack("<7i", data[:28])
        self.tied, self.vocab = vocab > 0, abs(vocab)
        self.head_dim = self.dim // self.heads

    def floats(self, count):
        values = array.array("f")
        values.frombytes(self.data[self.at:self.at + 4 * count])
        if len(values) != count:
            sys.exit(f"model.bin is cut short at byte {self.at}: wanted {count} numbers, found {len(values)}")
        self.at += 4 * count
        return values


def half_split(rows, heads, head_dim, columns):
    """Row 2i + j of a head goes to row j * head_dim / 2 + i."""
    out = array.array("f")
    for head in range(heads):
        for j in range(2):
            for i in range(head_dim // 2):
                row = (head * head_dim + 2 * i + j) * columns
                out.extend(rows[row:row + columns])
    return out


def read_tensors(reader):
    dim, hidden, kv = reader.dim, reader.hidden, reader.kv_heads * reader.head_dim
    tensors = {"model.embed_tokens.weight": ([reader.vocab, dim], reader.floats(reader.vocab * dim))}
    per_layer = [("input_layernorm", [dim], 0), ("self_attn.q_proj", [dim, dim], reader.heads), ("self_attn.k_proj", [kv, dim], reader.kv_heads),
                 ("self_attn.v_proj", [kv, dim], 0), ("self_attn.o_proj", [dim, dim], 0), ("post_attention_layernorm", [dim], 0),
                 ("mlp.gate_proj", [hidden, dim], 0), ("mlp.down_proj", [dim, hidden], 0), ("mlp.up_proj", [hidden, dim], 0)]
    for name, shape, permuted_heads in per_layer:
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        for layer in range(reader.layers):
            values = reader.floats(count)
            if permuted_heads:
                values = half_split(values, permuted_heads, reader.head_dim, shape[1])
            tensors[f"model.layers.{layer}.{name}.weight"] = (shape, values)
    tensors["model.norm.weight"] = ([dim], reader.floats(dim))
    reader.floats(reader.positions * reader.head_dim)  # rope tables: computed by every engine
    if not reader.tied:
        tensors["lm_head.weight"] = ([reader.vocab, dim], reader.floats(reader.vocab * dim))
    if reader.at != len(reader.data):
        sys.exit(f"model.bin: {len(reader.data) - reader.at} bytes are left after the last tensor")
    return tensors


def write_safetensors(path, tensors):
    header, position = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, values) in sorted(tensors.items()):
        size = 4 * len(values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, (_, values) in sorted(tensors.items()):
            out.write(values.tobytes())


def read_pieces(data, count):
    """tokenizer.bin: i32 longest piece, then (f32 score, i32 length, bytes) a piece; spaces stand for U+2581."""
    pieces, at = [], 4
    for token in range(count):
        score, length = struct.unpack_from("<fi", data, at)
        text = data[at + 8:at + 8 + length].decode().replace(" ", "\u2581")
        at += 8 + length
        pieces.append(({0: "<unk>", 1: BOS, 2: EOS}.get(token, text), score))
    return pieces


def merges_of(pieces):
    """Every pair of pieces whose sum is a piece, best score first: SentencePiece merges by the score of the result."""
    ids = {piece: i for i, (piece, _) in enumerate(pieces)}
    found = []
    for i, (piece, score) in enumerate(pieces):
        if i < 3 or (piece.startswith("<0x") and piece.endswith(">")):
            continue
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                found.append((-score, i, ids[left], ids[right], left, right))
    return [[left, right] for *_, left, right in sorted(found)]


def tokenizer_json(pieces):
    special = [{"id": i, "content": pieces[i][0], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
               for i in range(3)]
    sequence = lambda name: {"Sequence": {"id": name, "type_id": 0}}
    bos = {"SpecialToken": {"id": BOS, "type_id": 0}}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
                                                           {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": [bos, sequence("A")], "pair": [bos, sequence("A"), bos, sequence("B")],
                           "special_tokens": {BOS: {"id": BOS, "ids": [1], "tokens": [BOS]}}},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                                                     {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {piece: i for i, (piece, _) in enumerate(pieces)}, "merges": merges_of(pieces)},
    }


def configs(reader):
    config = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2, "head_dim": reader.head_dim,
        "hidden_act": "silu", "hidden_size": reader.dim, "intermediate_size": reader.hidden, "max_position_embeddings": reader.positions,
        "mlp_bias": False, "model_type": "llama", "num_attention_heads": reader.heads, "num_hidden_layers": reader.layers,
        "num_key_value_heads": reader.kv_heads, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": reader.tied,
        "torch_dtype": "float32", "vocab_size": reader.vocab,
    }
    tokenizer = {"add_bos_token": True, "add_eos_token": False, "bos_token": BOS, "eos_token": EOS, "unk_token": "<unk>",
                 "clean_up_tokenization_spaces": False, "legacy": True, "model_max_length": reader.positions, "tokenizer_class": "LlamaTokenizer"}
    return {"config.json": config, "tokenizer_config.json": tokenizer, "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2}}


def main(model_path, tokenizer_path, out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    reader = Reader(pathlib.Path(model_path).read_bytes())
    write_safetensors(out / "model.safetensors", read_tensors(reader))
    pieces = read_pieces(pathlib.Path(tokenizer_path).read_bytes(), reader.vocab)
    files = configs(reader) | {"tokenizer.json": tokenizer_json(pieces)}
    for name, content in files.items():
        (out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
