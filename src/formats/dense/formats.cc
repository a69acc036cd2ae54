// SPDX-License-Identifier: Apache-2.0
#include <span>

#include "formats/format.h"

namespace nibble {

std::span<const Format> dense_formats() {
  static const Format rows[] = {{.name = "dense", .summary = "f32, f16 and bf16 as stored"}};
  return rows;
}

}  // namespace nibble
