// SPDX-License-Identifier: Apache-2.0
// StoredWeight: what one quantized matrix IS, as mathematics sees it, in terms of the bytes that a checkpoint has. A view: it owns
// only `keep`, copies nothing, knows no file's spelling (methods/) and no kernel's layout (kernels/). Checkpoint methods make it,
// quantizers make it, kernels pack from it, writers write it.
//
// Vocabulary everywhere: w [n,k], n output features, k input features; y[m,n] = x[m,k] w^T.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/math.h"
#include "base/status.h"
#include "formats/format.h"
#include "tensors/tensor_view.h"

namespace nibble {

// The codes of W[n,k], whatever the file's packing. Stateless apart from its fields, so thread-safe; reading allocates nothing.
struct CodeSource {
  // Writes codes of rows n, columns k to out [n.size()][k.size()], one unsigned byte each.
  using Read = void (*)(const CodeSource&, Range n, Range k, uint8_t* out);
  Read read = nullptr;
  TensorView t[2];         // t[1]: a second plane or 2:4 metadata, where a packing has one
  int bits = 0;            // code < 2^bits
  int64_t arg[4] = {};     // the reader's own: offsets added by Slice come in n0, k0
  int64_t n0 = 0, k0 = 0;  // where this weight starts inside t; a reader adds them to n and k
};

// One number per block of elements: scale, zero point or additive term.
// Row-and-column planes: value(n, k) = data[(n + n_phase) / block_n][group(k)]; `flat` planes (bitsandbytes) run over n*K + k.
struct Plane {
  TensorView data;      // 2-D strided view [blocks of n, groups], stored dtype kept; flat: 1-D
  int64_t block_n = 1;  // 0: all rows share (per tensor)
  int64_t block_k = 0;  // 0: all columns share (per channel or per tensor), also under a group_of_k, which replaces
                        // the division for every other value
  bool flat = false;    // block = (n * K + k) / block_k, may straddle rows
  int64_t flat_k = 0, flat_n0 = 0, flat_k0 = 0;  // flat: the whole matrix' K, and where this slice starts
  TensorView table, outer;                       // double quantization: value = table[u8] * outer[block / outer_block] + offset
  int64_t outer_block = 0;
  float offset = 0;
  float multiplier = 1;     // exact constant of the format: 1/127 of LLM.int8, 1/global scale
  bool reciprocal = false;  // value = multiplier / stored (GPTQModel's true inverse scales). DecodeRows divides float codes by the
                            // stored number, one rounding; kernels may multiply by the rounded value (1 ulp)
  // Zero points that are packed like codes: read through a source instead of data. rows = block of n, columns = group.
  std::optional<CodeSource> packed;
  float packed_bias = 0;  // added to each packed value (GPTQ v1 stores z - 1)
};

enum class ValueRule : uint8_t {
  kIntMinusZero,  // S * (u - Z)           integers, Z defaults to zero_default
  kIntPlusBias,   // fma(S, u, B)          B is the `zero` plane
  kTable,         // S * T[u]              T f32 [2^bits]
  kRowTable,      // T[n][u]               T f32 [n, 2^bits], no scale
  kFloat,         // S * float_type(u)
};

// int2..8, nf4, fp4, fp8, mx*, nvfp4, bitnet, hqq, torchao, 2:4 ...
struct Coded {
  CodeSource codes;
  ValueRule rule = ValueRule::kIntMinusZero;
  DType float_type = DType::kNone;  // kFloat: e4m3, e5m2, e3m2, e2m3, e2m1
  TensorView table;
  Plane scale;
  std::optional<Plane> zero;         // integer or real zero points, or the additive term
  float zero_default = 0;            // without `zero`: 2^(bits-1) for unsigned symmetric, 0 else
  std::optional<Plane> scale2;       // a second factor kept apart so that decoding is exact: value = (S * S2) * code,
  bool scale2_last = false;          // or (S * code) * S2; kernels may multiply by S * S2 rounded (1 ulp)
  TensorView group_of_k;             // i32 [k]: GPTQ g_idx, any map from column to group; empty: (k + k_phase) / block_k
  int64_t k_phase = 0, n_phase = 0;  // where this slice starts inside its first group and its first block of rows
};
// ggml blocks: row n starts at blocks.data + n * row stride; blocks is u8 [n, row bytes].
struct Blocked {
  TensorView blocks;
  int64_t k_phase = 0;  // first column of this slice inside the row (a multiple of nothing)
};
struct Trellis {
  TensorView tiles, lut;
  int bits = 0, vec = 0;
  uint8_t codebook = 0, tile_order = 0;
};
// f32, f16, bf16 [n,k], any strides: "unquantized" is a format like any other.
struct Dense {
  TensorView w;
};
// Plug-ins: decode_rows is all they must give. out [n.size()][k.size()].
struct CustomCodec {
  const char* name;
  void (*decode_rows)(const void* state, Range n, Range k, float* out);
  double bits_per_weight;
};
struct Custom {
  const CustomCodec* codec = nullptr;
  std::shared_ptr<const void> state;
  int64_t n0 = 0, k0 = 0;
};

// Applied to x before the product, or to y after it.
struct Transform {
  enum Kind : uint8_t {
    kScale,     // x[j] *= data[j]
    kPermute,   // x'[j] = x[data[j]]
    kHadamard,  // blocks of `block` (0: whole width) times the orthonormal Hadamard matrix; data: optional signs before it
    kGivens,    // rotations of pairs: data angles, data2 pairs
    kMatrix,    // blocks of `block` (0: whole): x' = x data (data [block, block])
  } kind = kScale;
  TensorView data, data2;
  int64_t block = 0;
  bool inverse = false;  // use the transpose (kHadamard, kMatrix)
};

struct Origin {
  std::string file, tensor;  // "model-00001-of-00002.safetensors", "model.layers.0.mlp.up_proj"
  std::string slice;         // "rows [0,128) columns [64,128)" of it, empty: whole
};

// ONE logical matrix [n,k]: q_proj, or expert 17's up_proj; never a fused one.
struct StoredWeight {
  FormatId format = nullptr;
  int64_t n = 0, k = 0;
  std::variant<Coded, Blocked, Trellis, Dense, Custom> body;
  TensorView row_map;  // i32 [n]: logical row -> row of `body` (GGUF's q/k order, interleaved gate/up); empty: same
  std::vector<Transform> in, out;
  TensorView lora_a, lora_b;  // svdquant: y += (x a^T) b^T; a [r,k], b [n,r]
  Origin origin;
  std::vector<std::shared_ptr<const void>> keep;  // mappings and buffers that the views point into
};

// Rows n and columns k of W as f32, out [n.size()][k.size()]: the definition of truth for every kernel and test. Transforms and
// low-rank factors are not applied. Thread-safe. n and k must lie inside [0,n), [0,k).
void DecodeRows(const StoredWeight& weight, Range n, Range k, float* out);

// The shard of rows n and columns k (tensor and expert parallelism), or the reason why it cannot be cut there.
Result<StoredWeight> Slice(const StoredWeight& weight, Range n, Range k);

// The rows `rows` of it, in that order. Unsupported where something is done to y that knows the old order.
Result<StoredWeight> SelectRows(const StoredWeight& weight, const std::vector<int32_t>& rows);

// Bits per weight as stored: codes, scales, zero points, tables; not the padding of the file.
double BitsPerWeight(const StoredWeight& weight);
int64_t StoredBytes(const StoredWeight& weight);

// "int4 g128 asym act-order", "q4_k", "e4m3 128x128", "bf16": the detail column of `inspect`.
std::string Describe(const StoredWeight& weight);

// Reads every scale, zero point, map and code: NaN or infinite scales, groups out of range. For --verify and for packers.
Status VerifyValues(const StoredWeight& weight);

// A dense weight from a view f32, f16 or bf16 [n,k].
StoredWeight MakeDense(TensorView w, Origin origin, std::shared_ptr<const void> keep);

}  // namespace nibble
