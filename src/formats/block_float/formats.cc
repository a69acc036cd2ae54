// SPDX-License-Identifier: Apache-2.0
#include <span>

#include "formats/format.h"

namespace nibble {

std::span<const Format> block_float_formats() {
  static const Format rows[] = {
      {.name = "block_float", .summary = "MX and NVFP4: e2m1, e2m3, e3m2, e4m3, e5m2 codes, a scale for each 16 or 32 columns"}};
  return rows;
}

}  // namespace nibble
