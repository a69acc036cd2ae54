// SPDX-License-Identifier: Apache-2.0
#include <span>

#include "formats/format.h"

namespace nibble {

std::span<const Format> table_formats() {
  static const Format rows[] = {{.name = "table", .summary = "codes that index a table of values, one scale for each block"}};
  return rows;
}

}  // namespace nibble
