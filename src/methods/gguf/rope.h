// SPDX-License-Identifier: Apache-2.0
// What a GGUF file says of rotated positions, as rope_parameters of config.json.
#pragma once

#include "io/json.h"
#include "methods/gguf/reader.h"

namespace nibble {

// rope_parameters, rope_theta among them. head_dim: elements of a head; context: the longest text.
Result<Json> GgufRopeParameters(const GgufReader& reader, int64_t head_dim, int64_t context);

// The least number whose product with `whole` is `part` or more: readers of partial_rotary_factor take the whole part.
double PartOf(int64_t part, int64_t whole);

}  // namespace nibble
