// SPDX-License-Identifier: Apache-2.0
// Per-tensor scales of an FP8 key/value cache as checkpoints spell them, [1] or a scalar: <attention>.k_scale, .k_proj.k_scale
// (ModelOpt), .k_proj.output_scale (Quark), and the same for v.
#pragma once

#include "methods/method.h"

namespace nibble {

// A cache of `format` codes with per-tensor scales. An absent scale is 1.0 with a warning that names the layer, as is one that is
// not finite and positive. kNone: the checkpoint asks for no cache that this build makes; its scales serve who asks for one.
std::shared_ptr<const KvCacheMethod> MakeKvScales(DType format);

}  // namespace nibble
