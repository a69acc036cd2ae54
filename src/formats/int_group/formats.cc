// SPDX-License-Identifier: Apache-2.0
#include <span>

#include "formats/format.h"

namespace nibble {

std::span<const Format> int_group_formats() {
  static const Format rows[] = {
      {.name = "int_group",
       .summary = "integer codes of 2 to 8 bits with a scale, zero point or additive term for each group, channel or tensor"}};
  return rows;
}

}  // namespace nibble
