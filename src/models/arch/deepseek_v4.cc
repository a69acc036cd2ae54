// SPDX-License-Identifier: Apache-2.0
// DeepSeek V4: attention over compressed positions that an indexer picks, and several residual streams.
#include "models/architecture.h"

namespace nibble {

const Architecture* deepseek_v4_architecture() {
  static const Architecture architecture = {
      .name = "deepseek_v4",
      .model_types = {"deepseek_v4", "deepseek_ref"},
      .missing =
          "sparse attention with an indexer over compressed positions (index_topk, compress_ratios), hyper-connections "
          "(hc_mult) and the sqrtsoftplus router"};
  return &architecture;
}

}  // namespace nibble
