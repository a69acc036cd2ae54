// SPDX-License-Identifier: Apache-2.0
#include "methods/fp8/expert_scales.h"

#include <charconv>
#include <numeric>

#include "base/math.h"
#include "tensors/scalar.h"

namespace nibble {

Result<TensorIndex> ExpertScales::Collect(const TensorIndex* tensors) {
  std::vector<StoredTensor> found;
  if (tensors)
    for (const StoredTensor& tensor : tensors->tensors())
      for (const std::string_view suffix : kSuffixes)
        if (tensor.name.ends_with(suffix)) found.push_back(tensor);
  return TensorIndex::Make(std::move(found));
}

std::optional<ExpertScales> ExpertScales::Find(const TensorIndex& tensors, const std::string& module) {
  constexpr std::string_view kExperts = ".experts.";
  const size_t at = module.rfind(kExperts);
  if (at == std::string::npos) return std::nullopt;
  const std::string stack = module.substr(0, at + kExperts.size() - 1);
  const char* const end = module.data() + module.size();
  ExpertScales found;
  const auto [next, error] = std::from_chars(module.data() + at + kExperts.size(), end, found.expert_);
  if (error != std::errc() || next == end || *next != '.' || found.expert_ < 0) return std::nullopt;
  const std::string_view matrix(next + 1, static_cast<size_t>(end - next - 1));
  const bool down = matrix == "down_proj" || matrix == "w2";
  found.up_ = matrix == "up_proj" || matrix == "w3";
  if (!down && !found.up_ && matrix != "gate_proj" && matrix != "w1") return std::nullopt;
  const std::string fused = stack + (down ? ".down_proj" : ".gate_up_proj");
  const StoredTensor* scales = tensors.Find(fused + "_scale_inv");
  if (!scales) return std::nullopt;
  found.scales_ = *scales;
  if (const StoredTensor* activation = tensors.Find(fused + "_activation_scale")) found.activation_ = *activation;
  return found;
}

Result<ExpertScales::Blocks> ExpertScales::Of(int64_t n, int64_t block_n) const {
  const TensorView& all = scales_.view;
  if (all.rank() != 3 || expert_ >= all.dim(0) || !all.contiguous() || DTypeBytes(all.dtype) == 0)
    return Corrupt("{}: tensor \"{}\" is {}, wanted [more than {} experts, blocks, blocks]", scales_.file, scales_.name,
                   all.shape.ToString(), expert_);
  const int64_t rows = all.dim(1), columns = all.dim(2), first = up_ ? n : 0;
  const bool whole = rows == 1 && columns == 1;  // per tensor
  const int64_t block = whole || block_n == 0 ? n : std::gcd(block_n, first);
  Blocks blocks{Tensor(DType::kF32, {whole ? 1 : CeilDiv(n, block), columns}), block};
  for (int64_t row = 0; row < blocks.scales.view.dim(0); ++row) {
    const int64_t source = whole || block_n == 0 ? row : (first + row * block) / block_n;
    if (source >= rows)
      return Corrupt("{}: tensor \"{}\" is {}, wanted {} blocks of {} rows for matrices of {}", scales_.file, scales_.name,
                     all.shape.ToString(), CeilDiv(first + n, block_n), block_n, n);
    for (int64_t column = 0; column < columns; ++column)
      blocks.scales.as<float>()[row * columns + column] =
          LoadScalar(all.dtype, all.data, (expert_ * rows + source) * columns + column);
  }
  return blocks;
}

Result<float> ExpertScales::Activation() const {
  if (!activation_) return 0.0f;
  if (!activation_->view.contiguous() || expert_ >= activation_->view.elems())
    return Corrupt("{}: tensor \"{}\" is {}, wanted [more than {} experts]", activation_->file, activation_->name,
                   activation_->view.shape.ToString(), expert_);
  return LoadScalar(activation_->view.dtype, activation_->view.data, expert_);
}

}  // namespace nibble
