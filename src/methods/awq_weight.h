// SPDX-License-Identifier: Apache-2.0
// Weights in AWQ's layouts, for every method whose checkpoints use them (awq, gptq with checkpoint_format gemm, auto_round).
//
//   kGemm      qweight i32 [k, n*b/32], qzeros i32 [G, n*b/32], both packed along n (4 bits in the order 0,2,4,6,1,3,5,7, other
//   widths
//              plain), scales [G, n]                        W = s * (q - z), no offset
//   kGemv      qweight i32 [n, k/8], qzeros i32 [n, zw], packed along k in plain order, scales [n, 8 zw]; more groups than used may
//   be stored kMarlin    qweight i32 [k/16, 2n] in Marlin's tiles, scales [G, n] with permuted columns; symmetric: zero 8 kGemvFast
//   qweight i16 [n/4, k], scales f16 [8 zw, n], qzeros f16 [8 zw, n] = -(scale * zero)      W = q * s + qzeros; llm-awq names
//   them scaled_zeros
#pragma once

#include "methods/method.h"

namespace nibble {

enum class AwqVersion : uint8_t { kGemm, kGemv, kGemvFast, kMarlin };

struct AwqLayout {
  AwqVersion version = AwqVersion::kGemm;
  int bits = 4;
  int64_t group_size = 128;  // -1: one group
};

std::vector<ParamDecl> AwqParams(const AwqLayout& layout);
Result<LinearPart> MakeAwqWeight(const BoundParams& params, const AwqLayout& layout);

}  // namespace nibble
