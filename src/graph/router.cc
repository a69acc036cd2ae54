// SPDX-License-Identifier: Apache-2.0
#include "graph/router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace nibble {
namespace {

constexpr float kLeftOut = -std::numeric_limits<float>::infinity();

// Scores of experts outside the best groups become -inf.
void KeepBestGroups(const MoeSpec& spec, std::vector<float>* scores) {
  const int64_t size = spec.experts / spec.groups;
  std::vector<std::pair<float, int64_t>> groups;
  for (int64_t group = 0; group < spec.groups; ++group) {
    std::vector<float> members(scores->begin() + group * size, scores->begin() + (group + 1) * size);
    std::sort(members.begin(), members.end(), std::greater<>());
    groups.emplace_back(spec.group_by_two && size > 1 ? members[0] + members[1] : members[0], group);
  }
  std::stable_sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (size_t i = static_cast<size_t>(spec.top_groups); i < groups.size(); ++i)
    std::fill_n(scores->begin() + groups[i].second * size, size, kLeftOut);
}

void Best(const std::vector<float>& scores, int64_t count, int32_t* chosen) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int32_t a, int32_t b) {
    const float pa = scores[static_cast<size_t>(a)], pb = scores[static_cast<size_t>(b)];
    return pa != pb ? pa > pb : a < b;
  });
  std::copy_n(order.begin(), count, chosen);
}

// SparseMixer at inference: the weight of each choice is its share in a softmax over those logits that are relatively near it; the
// chosen are then left out.
void SparseMixer(const MoeSpec& spec, const float* logits, const CpuOps& ops, int32_t* chosen, float* weights) {
  std::vector<float> left(logits, logits + spec.experts), near(left.size());
  for (int64_t i = 0; i < spec.top_k; ++i) {
    const auto best = std::max_element(left.begin(), left.end());
    const float top = *best;
    for (size_t e = 0; e < left.size(); ++e) {
      const float distance = (top - logits[e]) / std::max(std::fabs(logits[e]), top);
      near[e] = distance > 2 * spec.jitter_eps ? kLeftOut : left[e];
    }
    chosen[i] = static_cast<int32_t>(best - left.begin());
    ops.softmax(near.data(), spec.experts);
    weights[i] = near[static_cast<size_t>(chosen[i])];
    *best = kLeftOut;
  }
}

void ScoresOf(const MoeSpec& spec, const CpuOps& ops, std::vector<float>* scores) {
  if (spec.router == RouterKind::kSoftmaxTopK) ops.softmax(scores->data(), spec.experts);
  if (spec.router == RouterKind::kSigmoidTopK)
    ops.gated(Activation::kSigmoid, scores->data(), nullptr, spec.experts, scores->data());
}

}  // namespace

void ChooseExperts(const MoeSpec& spec, const float* logits, const float* bias, const CpuOps& ops, int32_t* chosen,
                   float* weights) {
  if (spec.router == RouterKind::kSparseMixer) return SparseMixer(spec, logits, ops, chosen, weights);
  std::vector<float> scores(logits, logits + spec.experts);
  ScoresOf(spec, ops, &scores);
  std::vector<float> choice = scores;
  for (int64_t e = 0; bias && e < spec.experts; ++e) choice[static_cast<size_t>(e)] += bias[e];
  if (spec.groups > 1) KeepBestGroups(spec, &choice);
  Best(choice, spec.top_k, chosen);
  for (int64_t i = 0; i < spec.top_k; ++i) weights[i] = scores[static_cast<size_t>(chosen[i])];
  if (spec.router == RouterKind::kTopKSoftmax) {
    ops.softmax(weights, spec.top_k);
  } else if (spec.renormalize) {
    const float sum = std::accumulate(weights, weights + spec.top_k, 0.0f) + spec.renormalize_eps;
    for (int64_t i = 0; i < spec.top_k; ++i) weights[i] /= sum;
  }
  for (int64_t i = 0; i < spec.top_k; ++i) weights[i] *= spec.scale;
}

}  // namespace nibble
