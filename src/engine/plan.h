// SPDX-License-Identifier: Apache-2.0
// The memory a model needs, computed from its config and, when they are there, its tensors: before anything is allocated.
#pragma once

#include <string>
#include <vector>

#include "kv_cache/kv_format.h"
#include "models/loader.h"
#include "tensors/dtype.h"

namespace nibble {

struct MemoryPlan {
  struct Part {
    std::string name;  // "attention projections", "mlp", "experts", "lm_head", "embedding (file)", "K/V cache", "scratch"
    int64_t bytes = 0;
  };
  std::vector<Part> parts;
  int64_t weights_bytes = 0;    // packed
  int64_t embedding_bytes = 0;  // stays in the file; only the rows used are read
  int64_t kv_token_bytes = 0;   // one position, all layers that keep every position
  int64_t kv_fixed_bytes = 0;   // of all sequences, whatever the context: layers with a window, copies of ends
  int64_t kv_bytes = 0, scratch_bytes = 0;
  int64_t state_bytes = 0;  // rewritten states of all sequences; the context does not matter
  int64_t context = 0, sequences = 1;
  bool from_config_alone = false;
  double weight_bits = 0;  // average over the linear layers
  int64_t parameters = 0;
  int64_t total() const { return weights_bytes + kv_bytes + state_bytes + scratch_bytes; }
};

// Tokens of one step, unless asked otherwise. Twice as many take 40 MB more with a 1 B model, and its prompts are no faster.
inline constexpr int64_t kBatchRows = 256;

struct PlanOptions {
  int64_t context = 0;  // 0: the model's
  int64_t sequences = 1;
  KvFormats kv_dtype = DType::kBF16;
  int64_t batch_rows = kBatchRows, logits_rows = 64;
  double linear_bits = 0;  // > 0: linear layers and experts have so many bits a weight, whatever is stored
};

// Unsupported when the architecture is unknown.
Result<MemoryPlan> PlanMemory(const Checkpoint& checkpoint, const ModelConfig& config, const PlanOptions& options);

// Context that fits `available` bytes beside the weights, a multiple of a page, at most `wanted`; 0 when not even one page does.
int64_t ContextThatFits(const MemoryPlan& plan, int64_t wanted, int64_t available);

}  // namespace nibble
