// SPDX-License-Identifier: Apache-2.0
// HunYuan dense: Llama with norms of q and k heads after the rotation.
#include "models/blocks.h"

namespace nibble {

const Architecture* hunyuan_v1_dense_architecture() {
  static const Architecture architecture =
      MakeDecoder<HunyuanOptions>("hunyuan_v1_dense", {"hunyuan_v1_dense"}, R"({"rms_norm_eps": 1e-5})");
  return &architecture;
}

}  // namespace nibble
