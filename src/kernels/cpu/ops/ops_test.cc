// SPDX-License-Identifier: Apache-2.0
// Each operation against a plain f64 computation, and all instruction sets against the scalar table bit for bit.
#include "kernels/cpu/ops/ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tensors/scalar.h"

namespace nibble {
namespace {

std::vector<float> Random(size_t n, unsigned seed, float spread = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> x(n);
  for (float& v : x) v = normal(rng);
  return x;
}

std::vector<Isa> IsasWithOps() {
  std::vector<Isa> isas;
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512})
    if (isa <= Cpu().isa) isas.push_back(isa);
  return isas;
}

TEST(Ops, RmsNormMatchesItsFormula) {
  for (const int64_t width : {1, 8, 16, 37, 256}) {
    const auto x = Random(static_cast<size_t>(width), 1), w = Random(static_cast<size_t>(width), 2);
    double squares = 0;
    for (float v : x) squares += static_cast<double>(v) * v;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + 1e-5);
    std::vector<float> scalar(x.size());
    OpsScalar().rms_norm(x.data(), w.data(), 0, 1e-5f, width, scalar.data());
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(scalar[i], x[i] * scale * w[i], 1e-5);
    for (Isa isa : IsasWithOps()) {
      std::vector<float> y(x.size());
      OpsFor(isa).rms_norm(x.data(), w.data(), 0, 1e-5f, width, y.data());
      EXPECT_EQ(y, scalar) << IsaName(isa);
    }
  }
}

TEST(Ops, LayerNormMatchesItsFormula) {
  const int64_t width = 50;
  const auto x = Random(50, 3), w = Random(50, 4), b = Random(50, 5);
  double mean = 0, variance = 0;
  for (float v : x) mean += v / 50.0;
  for (float v : x) variance += (v - mean) * (v - mean) / 50.0;
  for (Isa isa : IsasWithOps()) {
    std::vector<float> y(x.size());
    OpsFor(isa).layer_norm(x.data(), w.data(), b.data(), 0, 1e-5f, width, y.data());
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(y[i], (x[i] - mean) / std::sqrt(variance + 1e-5) * w[i] + b[i], 1e-5);
  }
}

TEST(Ops, ActivationsMatchTheirFormulas) {
  auto gate = Random(203, 6, 3);
  gate[0] = 0;
  gate[1] = -100;
  gate[2] = 100;
  const auto up = Random(203, 7);
  const auto exact = [](Activation act, double g) {
    switch (act) {
      case Activation::kSilu: return g / (1 + std::exp(-g));
      case Activation::kGeluTanh: return 0.5 * g * (1 + std::tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)));
      case Activation::kGeluErf: return 0.5 * g * (1 + std::erf(g / std::sqrt(2.0)));
      case Activation::kGeluQuick: return g / (1 + std::exp(-1.702 * g));
      case Activation::kSigmoid: return 1 / (1 + std::exp(-g));
      case Activation::kRelu: return std::max(g, 0.0);
      case Activation::kRelu2: return std::max(g, 0.0) * std::max(g, 0.0);
    }
    return 0.0;
  };
  for (Activation act : {Activation::kSilu, Activation::kGeluTanh, Activation::kGeluErf, Activation::kGeluQuick, Activation::kRelu,
                         Activation::kRelu2, Activation::kSigmoid}) {
    std::vector<float> scalar(gate.size());
    OpsScalar().gated(act, gate.data(), up.data(), 203, scalar.data());
    for (size_t i = 0; i < gate.size(); ++i)
      EXPECT_NEAR(scalar[i], exact(act, gate[i]) * up[i], 1e-6 * (1 + std::fabs(exact(act, gate[i]) * up[i])))
          << static_cast<int>(act) << " at " << gate[i];
    for (Isa isa : IsasWithOps()) {
      std::vector<float> y(gate.size());
      OpsFor(isa).gated(act, gate.data(), up.data(), 203, y.data());
      EXPECT_EQ(y, scalar) << IsaName(isa) << static_cast<int>(act);
    }
  }
}

TEST(Ops, ClampedGateMatchesItsFormula) {
  auto gate = Random(203, 11, 6), up = Random(203, 12, 6);
  gate[0] = 100;
  gate[1] = -100;
  up[2] = 100;
  up[3] = -100;
  std::vector<float> scalar(gate.size());
  OpsScalar().gated_clamped(gate.data(), up.data(), 1.702f, 7, 203, scalar.data());
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = std::min<double>(gate[i], 7), u = std::clamp<double>(up[i], -7, 7);
    const double exact = (u + 1) * g / (1 + std::exp(-1.702 * g));
    EXPECT_NEAR(scalar[i], exact, 1e-5 * (1 + std::fabs(exact))) << gate[i] << " " << up[i];
  }
  for (Isa isa : IsasWithOps()) {
    std::vector<float> y(gate.size());
    OpsFor(isa).gated_clamped(gate.data(), up.data(), 1.702f, 7, 203, y.data());
    EXPECT_EQ(y, scalar) << IsaName(isa);
  }
}

TEST(Ops, RopeRotatesPairs) {
  for (const bool interleaved : {false, true}) {
    std::vector<float> head = {1, 2, 3, 4, 9};
    const float cos[] = {0.0f, 1.0f}, sin[] = {1.0f, 0.0f};  // first pair by 90 degrees, second not at all
    OpsScalar().rope(head.data(), cos, sin, 2, interleaved);
    EXPECT_EQ(head, interleaved ? (std::vector<float>{-2, 1, 3, 4, 9}) : (std::vector<float>{-3, 2, 1, 4, 9}));
  }
}

}  // namespace
}  // namespace nibble
