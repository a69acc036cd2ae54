// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cpu/ops/ops.h"

namespace nibble {

Status CheckSampling(const SamplingParams& p) {
  if (!(p.temperature >= 0) || !std::isfinite(p.temperature)) return Usage("--temperature is {}, wanted 0 or more", p.temperature);
  if (p.top_k < 0) return Usage("--top-k is {}, wanted 0 (all) or more", p.top_k);
  if (!(p.top_p > 0 && p.top_p <= 1)) return Usage("--top-p is {}, wanted more than 0, at most 1", p.top_p);
  if (!(p.min_p >= 0 && p.min_p <= 1)) return Usage("--min-p is {}, wanted 0 to 1", p.min_p);
  if (!(p.repeat_penalty > 0)) return Usage("--repeat-penalty is {}, wanted more than 0 (1 is none)", p.repeat_penalty);
  return {};
}

Sampler::Sampler(const SamplingParams& params) : params_(params), state_(params.seed) {}

double Sampler::Uniform() {  // splitmix64
  uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

void Sampler::Penalize(std::span<const int32_t> history) {
  if (params_.repeat_penalty == 1) return;
  const auto window = std::min<size_t>(history.size(), static_cast<size_t>(std::max<int64_t>(params_.repeat_window, 0)));
  std::vector<int32_t> seen(history.end() - static_cast<std::ptrdiff_t>(window), history.end());
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  for (const int32_t id : seen) {
    float& logit = logits_[static_cast<size_t>(id)];
    logit = logit > 0 ? logit / params_.repeat_penalty : logit * params_.repeat_penalty;
  }
}

int32_t Sampler::Next(std::span<const float> logits, std::span<const int32_t> history) {
  logits_.assign(logits.begin(), logits.end());
  Penalize(history);
  if (params_.temperature == 0) return static_cast<int32_t>(std::max_element(logits_.begin(), logits_.end()) - logits_.begin());
  for (float& logit : logits_) logit /= params_.temperature;
  order_.resize(logits_.size());
  std::iota(order_.begin(), order_.end(), 0);
  const auto better = [&](int32_t a, int32_t b) {
    const float la = logits_[static_cast<size_t>(a)], lb = logits_[static_cast<size_t>(b)];
    return la != lb ? la > lb : a < b;
  };
  size_t keep = params_.top_k > 0 ? std::min<size_t>(static_cast<size_t>(params_.top_k), order_.size()) : order_.size();
  std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(keep), order_.end(), better);
  std::vector<float> p(keep);
  for (size_t i = 0; i < keep; ++i) p[i] = logits_[static_cast<size_t>(order_[i])];
  OpsFor(Cpu().isa).softmax(p.data(), static_cast<int64_t>(keep));
  if (params_.top_p < 1) {
    double sum = 0;
    size_t i = 0;
    while (i < keep && sum < static_cast<double>(params_.top_p)) sum += static_cast<double>(p[i++]);
    keep = std::max<size_t>(i, 1);
  }
  if (params_.min_p > 0)
    while (keep > 1 && p[keep - 1] < params_.min_p * p[0]) --keep;
  const double total = std::accumulate(p.begin(), p.begin() + static_cast<std::ptrdiff_t>(keep), 0.0);
  double draw = Uniform() * total;
  for (size_t i = 0; i + 1 < keep; ++i) {
    draw -= static_cast<double>(p[i]);
    if (draw < 0) return order_[i];
  }
  return order_[keep - 1];
}

}  // namespace nibble
