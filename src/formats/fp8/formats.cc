// SPDX-License-Identifier: Apache-2.0
#include <span>

#include "formats/format.h"

namespace nibble {

std::span<const Format> fp8_formats() {
  static const Format rows[] = {
      {.name = "fp8", .summary = "e4m3 and e5m2 bytes with a scale for each tensor, channel, group or block"}};
  return rows;
}

}  // namespace nibble
