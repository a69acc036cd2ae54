// SPDX-License-Identifier: Apache-2.0
// Each kind of router against numbers computed by hand.
#include "graph/router.h"

#include <gtest/gtest.h>

#include <cmath>

namespace nibble {
namespace {

struct Choice {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Choice Route(MoeSpec spec, const std::vector<float>& logits, const std::vector<float>& bias = {}) {
  spec.experts = static_cast<int64_t>(logits.size());
  Choice choice{std::vector<int32_t>(static_cast<size_t>(spec.top_k)), std::vector<float>(static_cast<size_t>(spec.top_k))};
  ChooseExperts(spec, logits.data(), bias.empty() ? nullptr : bias.data(), OpsScalar(), choice.experts.data(),
                choice.weights.data());
  return choice;
}

void ExpectChoice(const Choice& got, const std::vector<int32_t>& experts, const std::vector<double>& weights) {
  EXPECT_EQ(got.experts, experts);
  ASSERT_EQ(got.weights.size(), weights.size());
  for (size_t i = 0; i < weights.size(); ++i) EXPECT_NEAR(static_cast<double>(got.weights[i]), weights[i], 1e-6) << i;
}

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Softmax of log 1, log 2, log 3, log 4 is 0.1, 0.2, 0.3, 0.4.
const std::vector<float> kLogits = {std::log(1.0f), std::log(4.0f), std::log(3.0f), std::log(2.0f)};

TEST(Router, SoftmaxThenTheBest) {
  ExpectChoice(Route({.top_k = 2, .renormalize = false}, kLogits), {1, 2}, {0.4, 0.3});
  ExpectChoice(Route({.top_k = 2, .renormalize = false, .scale = 2.5f}, kLogits), {1, 2}, {1.0, 0.75});
  ExpectChoice(Route({.top_k = 2}, kLogits), {1, 2}, {4.0 / 7, 3.0 / 7});
  ExpectChoice(Route({.top_k = 2, .renormalize_eps = 0.1f}, kLogits), {1, 2}, {0.5, 0.375});
}

TEST(Router, TheBestThenSoftmax) {
  ExpectChoice(Route({.top_k = 3, .router = RouterKind::kTopKSoftmax}, kLogits), {1, 2, 3}, {4.0 / 9, 3.0 / 9, 2.0 / 9});
}

TEST(Router, EqualScoresGoToTheLowerExpert) { ExpectChoice(Route({.top_k = 2}, {1, 2, 2, 2}), {1, 2}, {0.5, 0.5}); }

TEST(Router, SigmoidsAreIndependentOfOneAnother) {
  ExpectChoice(Route({.top_k = 1, .router = RouterKind::kSigmoidTopK, .renormalize = false}, {-1, 0.5f, 0, 0}), {1},
               {Sigmoid(0.5)});
}

TEST(Router, ABiasChoosesAndDoesNotWeigh) {
  const MoeSpec spec{.top_k = 2, .router = RouterKind::kSigmoidTopK, .renormalize = false};
  ExpectChoice(Route(spec, {2, 1, 0, -1}, {0, 0, 0, 1}), {3, 0}, {Sigmoid(-1), Sigmoid(2)});
}

TEST(Router, GroupsAreRankedByTheirBestOrTheirBestTwo) {
  // By their best: {0, 1} and {4, 5}. By two: {2, 3} has sigmoid(3) + sigmoid(3) = 1.91, {0, 1} and {4, 5} about 1.
  const std::vector<float> logits = {5, -5, 3, 3, 4, -5};
  MoeSpec spec{.top_k = 3, .router = RouterKind::kSigmoidTopK, .groups = 3, .top_groups = 2, .renormalize = false};
  ExpectChoice(Route(spec, logits), {0, 4, 1}, {Sigmoid(5), Sigmoid(4), Sigmoid(-5)});
  spec.group_by_two = true;
  ExpectChoice(Route(spec, logits), {0, 2, 3}, {Sigmoid(5), Sigmoid(3), Sigmoid(3)});
}

TEST(Router, SparseMixerWeighsEachChoiceAmongItsNeighbours) {
  // Near is within 0.2 of the larger magnitude: 0.9 is near 1. Of what is left, 0.5 is not near 0.9 (0.4 / 0.9).
  const Choice choice = Route({.top_k = 2, .router = RouterKind::kSparseMixer, .jitter_eps = 0.1f}, {0.5f, 1.0f, 0.9f, -1.0f});
  ExpectChoice(choice, {1, 2}, {1 / (1 + std::exp(-0.1)), 1.0});
}

}  // namespace
}  // namespace nibble
