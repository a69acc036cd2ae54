// SPDX-License-Identifier: Apache-2.0
// Scales, biases and zero points of a key/value cache as checkpoints spell them: <attention>.k_scale, .k_proj.k_scale (ModelOpt),
// .k_proj.output_scale (Quark), [1], a scalar, or [heads,1,1]; .k_zero_point, [1] or [heads,1,1]; .k_proj.k_bias
// [1,heads,1,width] (ModelOpt's affine caches); and the same for v.
#pragma once

#include "methods/method.h"

namespace nibble {

// An absent scale is 1 with a warning that names the layer, as is one that is not finite and positive. No formats: the checkpoint
// asks for no cache that this build makes; its scales serve who asks for one.
std::shared_ptr<const KvCacheMethod> MakeKvScales(std::optional<KvFormats> formats);

}  // namespace nibble
