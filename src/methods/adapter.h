// SPDX-License-Identifier: Apache-2.0
// A LoRA adapter in PEFT's form beside a quantized base (EoRA of GPTQModel, or any fine-tune): adapter_config.json and
// adapter_model.safetensors with, for a module X,
//   base_model.model.X.lora_A.weight [r, k],  base_model.model.X.lora_B.weight [n, r]
// y = x W^T + s (x A^T) B^T,  s = lora_alpha / r, or / sqrt(r) with use_rslora. x is what the layer gets, before any quantization.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/tensor_index.h"
#include "kernels/linear.h"

namespace nibble {

class Adapter {
 public:
  // Errors: no such files, a kind of adapter that is not plain LoRA, a module with one factor alone, tensors that belong to nothing.
  static Result<std::unique_ptr<Adapter>> Open(const std::string& folder);

  // The part with the low-rank term of `module`, if the adapter has one. Corrupt: shapes that do not fit the weight. Unsupported: a
  // weight that has a term already or transforms its input.
  Result<LinearPart> Apply(const std::string& module, LinearPart part);
  // Modules that nobody asked for so far.
  std::vector<std::string> Unused() const;

 private:
  struct Factors {
    const StoredTensor *a = nullptr, *b = nullptr;
    double scaling = 1;
  };
  std::string folder_;
  TensorIndex tensors_;
  std::map<std::string, Factors, std::less<>> modules_;
  std::set<std::string, std::less<>> used_;
};

}  // namespace nibble
