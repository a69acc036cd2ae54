// SPDX-License-Identifier: Apache-2.0
// Per-tensor scales of an FP8 key/value cache as checkpoints spell them: <attention>.k_scale, .v_scale, [1] or a scalar.
#pragma once

#include "methods/method.h"

namespace nibble {

// A cache of `format` codes with per-tensor scales. An absent scale is 1.0 with a warning that names the layer, as is one that is
// not finite and positive.
std::shared_ptr<const KvCacheMethod> MakeKvScales(DType format);

}  // namespace nibble
