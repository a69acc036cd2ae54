// SPDX-License-Identifier: Apache-2.0
// Trellis-coded weights (QTIP, EXL3): the values of a 16 x 16 tile are functions of 16-bit windows that slide over a ring of bits.
// README.md has the pictures.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "formats/stored_weight.h"

namespace nibble {

// Trellis::codebook: what a window means. The first five are functions of the window alone, one value a window.
enum class TrellisCode : uint8_t { k1Mad, k2Mad, k3Inst, kMcg, kMul1, kLut, kQuantLut, kQuantLutSym };
// "1mad", "3inst", "mul1", "lut", "quantlut_sym" ...
std::string_view TrellisCodeName(TrellisCode code);
std::optional<TrellisCode> ParseTrellisCode(std::string_view name);

// Trellis::tile_order: where the tiles lie, how a tile's bits are read, and which element a window belongs to. tiles: 2-byte
// integers.
enum class TrellisOrder : uint8_t {
  kPlain,   // QTIP: [n/16 * k/16, 16 bits], words high bit first, windows begin at their new bits, elements row by row
  kKernel,  // QTIP for its CUDA kernel: bytes of four tiles mixed, elements in the order of a tensor-core fragment; vec 2
  kExl3,    // [k/16, n/16, 16 bits], words swapped in pairs, windows end with their new bits, fragment order
};

constexpr int64_t kTrellisTile = 16;  // rows and columns of a tile

// Rows n and columns k of the inner matrix of `weight`, whose body is `trellis`: DecodeRows for this body.
void DecodeTrellis(const StoredWeight& weight, const Trellis& trellis, Range n, Range k, float* out);

// Decodes every trellis-coded weight of this process by `code` from now on, whatever the weights say; nullopt: as they say, by a
// table of values. For experiments and timing: k1Mad .. kMul1 are computed window by window, and give other values than the
// checkpoint's unless they are its code. Safe while models run; a step in progress may see both.
void OverrideTrellisCode(std::optional<TrellisCode> code);

// The value of one window under a function of the window alone (k1Mad .. kMul1).
float TrellisValue(TrellisCode code, uint32_t window);

}  // namespace nibble
