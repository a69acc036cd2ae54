// SPDX-License-Identifier: Apache-2.0
#include <span>

#include "formats/format.h"

namespace nibble {

std::span<const Format> codebook_formats() {
  static const Format rows[] = {{.name = "codebook", .summary = "vectors from codebooks: AQLM, VPTQ"}};
  return rows;
}

}  // namespace nibble
