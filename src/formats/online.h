// SPDX-License-Identifier: Apache-2.0
// Float matrices into quantized ones without calibration, one pass over the weights: what --quantization NAME does while a float
// model is loaded.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "base/thread_team.h"
#include "formats/stored_weight.h"

namespace nibble {

struct OnlineFormat {
  enum Rule : uint8_t {
    kInteger,  // W = S (u - 2^(bits-1)); S by least squared error
    kFloat,    // W = S float(u); S = largest |w| of the block / largest value of the float
    kMx,       // the same with a power of two, of the two candidates the one with the smaller error
    kNvfp4,    // W = S S2 e2m1(u); S2 [1] = largest |w| / (448 * 6), S e4m3
    kTable,    // W = S T[u]; S = largest |w| of the block
    kGgml,     // blocks of the format `stored`
  };
  std::string_view name;     // "nf4"
  std::string_view summary;  // one line
  std::string_view stored;   // name of the number format in formats/
  Rule rule = kInteger;
  int bits = 4;
  int64_t block = 0;             // columns that share a scale; 0: the whole row
  DType code = DType::kNone;     // kFloat, kMx: the float
  DType scale = DType::kF32;     // of the stored scales
  std::span<const float> table;  // kTable: 2^bits values
};

// Built-in ones and every ggml format that has an encoder, under its ggml name.
std::span<const OnlineFormat> OnlineFormats();
// Null if unknown.
const OnlineFormat* FindOnlineFormat(std::string_view name);

// `source`, any stored weight (decoded strip by strip, never whole), in `format`; the result owns its codes and keeps nothing of
// the source. The same bits for any number of threads. Unsupported: rows that blocks do not divide (ggml). Corrupt: a weight that
// is not finite, by row and column.
Result<StoredWeight> EncodeOnline(const OnlineFormat& format, const StoredWeight& source, ThreadTeam& team);

}  // namespace nibble
