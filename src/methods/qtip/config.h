// SPDX-License-Identifier: Apache-2.0
// "quip_params" of config.json.
#pragma once

#include <string>

#include "formats/trellis/trellis.h"
#include "io/json.h"

namespace nibble {

struct QtipConfig {
  TrellisCode code = TrellisCode::kQuantLutSym;
  int bits = 2, vec = 2, table_bits = 0;
  TrellisOrder order = TrellisOrder::kPlain;

  static Result<QtipConfig> Parse(const Json& json, const std::string& where);
};

}  // namespace nibble
