// SPDX-License-Identifier: Apache-2.0
// Scales of experts that are stored for all experts together beside matrices that are stored one by one, as transformers 5 writes
// them:
//   <experts>.E.gate_proj.weight (w1, up_proj, w3, down_proj, w2)         e4m3 [n, k]
//   <experts>.gate_up_proj_scale_inv [E, ceil(2 n / block_n), ceil(k / block_k)], or [E, 1, 1]: blocks of gate's rows and then up's
//   <experts>.down_proj_scale_inv; <experts>.gate_up_proj_activation_scale, down_proj_activation_scale [E]
#pragma once

#include <optional>
#include <string>

#include "io/tensor_index.h"
#include "tensors/tensor_view.h"

namespace nibble {

class ExpertScales {
 public:
  // Ends of the names of these tensors.
  static constexpr std::string_view kSuffixes[] = {".gate_up_proj_scale_inv", ".down_proj_scale_inv",
                                                   ".gate_up_proj_activation_scale", ".down_proj_activation_scale"};
  // The tensors with such names; `tensors` may be null.
  static Result<TensorIndex> Collect(const TensorIndex* tensors);
  // Those of the expert's matrix `module`, or nothing.
  static std::optional<ExpertScales> Find(const TensorIndex& tensors, const std::string& module);

  // A matrix of n rows: its scales in blocks of `rows` rows, which divides block_n where gate's rows end inside a block.
  struct Blocks {
    Tensor scales;  // f32 [blocks, columns]
    int64_t rows = 0;
  };
  Result<Blocks> Of(int64_t n, int64_t block_n) const;
  // Static scale of x; 0: none is stored.
  Result<float> Activation() const;

 private:
  StoredTensor scales_;
  std::optional<StoredTensor> activation_;
  int64_t expert_ = 0;
  bool up_ = false;  // the second half of gate_up_proj
};

}  // namespace nibble
