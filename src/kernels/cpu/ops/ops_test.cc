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

std::vector<Isa> IsasHere() {
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
    for (Isa isa : IsasHere()) {
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
  for (Isa isa : IsasHere()) {
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
    for (Isa isa : IsasHere()) {
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
  for (Isa isa : IsasHere()) {
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

TEST(Ops, AttentionMatchesSoftmaxOfDotProducts) {
  const int64_t dim = 24, stride = 32, tokens = 45;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const int bytes = DTypeBytes(dtype);
    std::vector<std::byte> k(static_cast<size_t>(tokens * stride * bytes)), v(k.size());
    const auto kf = Random(static_cast<size_t>(tokens * dim), 8), vf = Random(static_cast<size_t>(tokens * dim), 9);
    for (int64_t t = 0; t < tokens; ++t) {
      OpsScalar().store(dtype, kf.data() + t * dim, dim, stride, k.data() + t * stride * bytes);
      OpsScalar().store(dtype, vf.data() + t * dim, dim, stride, v.data() + t * stride * bytes);
    }
    auto q = Random(static_cast<size_t>(stride), 10);
    std::fill(q.begin() + dim, q.end(), 0.0f);
    // Three runs, the first 5 tokens outside the window.
    const auto at = [&](std::vector<std::byte>& cache, int64_t t) {
      return static_cast<const void*>(cache.data() + t * stride * bytes);
    };
    const KvRun runs[] = {{at(k, 0), at(v, 0), 16}, {at(k, 16), at(v, 16), 16}, {at(k, 32), at(v, 32), 13}};
    std::vector<double> p;
    double sum = 0;
    for (int64_t t = 5; t < tokens; ++t) {
      double s = 0;
      for (int64_t i = 0; i < dim; ++i) s += static_cast<double>(q[static_cast<size_t>(i)]) * kf[static_cast<size_t>(t * dim + i)];
      p.push_back(std::exp(0.3 * s));
      sum += p.back();
    }
    std::vector<float> scalar;
    for (Isa isa : IsasHere()) {
      std::vector<float> out(static_cast<size_t>(dim)), scores(48);
      OpsFor(isa).attention({.q = q.data(),
                             .out = out.data(),
                             .runs = runs,
                             .run_count = 3,
                             .skip = 5,
                             .tokens = tokens - 5,
                             .k_stride = stride,
                             .v_stride = stride,
                             .v_dim = dim,
                             .dtype = dtype,
                             .scale = 0.3f,
                             .scores = scores.data()});
      if (scalar.empty()) scalar = out;
      EXPECT_EQ(out, scalar) << IsaName(isa);
      for (int64_t i = 0; i < dim; ++i) {
        double expected = 0;
        for (int64_t t = 5; t < tokens; ++t) expected += p[static_cast<size_t>(t - 5)] / sum * vf[static_cast<size_t>(t * dim + i)];
        EXPECT_NEAR(out[static_cast<size_t>(i)], expected, dtype == DType::kF32 ? 1e-5 : dtype == DType::kF16 ? 2e-3 : 2e-2);
      }
    }
  }
}

// A sink takes its share of the softmax and adds nothing; a slope lowers a score by the distance to the last position; a cap bounds
// it.
TEST(Ops, AttentionSinksSlopesAndCaps) {
  const int64_t dim = 16, tokens = 21;
  const auto k = Random(static_cast<size_t>(tokens * dim), 31), v = Random(static_cast<size_t>(tokens * dim), 32);
  const auto q = Random(static_cast<size_t>(dim), 33);
  const KvRun run = {k.data(), v.data(), tokens};
  const float sink = 0.7f;
  struct {
    const float* sink;
    float slope, softcap;
  } const cases[] = {{&sink, 0, 0}, {nullptr, 0.25f, 0}, {nullptr, 0, 1.5f}, {&sink, 0.25f, 1.5f}};
  for (const auto& c : cases) {
    double sum = c.sink ? std::exp(static_cast<double>(*c.sink)) : 0;
    std::vector<double> expected(static_cast<size_t>(dim));
    for (int64_t t = 0; t < tokens; ++t) {
      double s = 0;
      for (int64_t i = 0; i < dim; ++i) s += static_cast<double>(q[static_cast<size_t>(i)]) * k[static_cast<size_t>(t * dim + i)];
      s *= 0.25;
      if (c.softcap > 0) s = c.softcap * std::tanh(s / c.softcap);
      s -= static_cast<double>(c.slope) * static_cast<double>(tokens - 1 - t);
      sum += std::exp(s);
      for (int64_t i = 0; i < dim; ++i) expected[static_cast<size_t>(i)] += std::exp(s) * v[static_cast<size_t>(t * dim + i)];
    }
    std::vector<float> scalar;
    for (Isa isa : IsasHere()) {
      std::vector<float> out(static_cast<size_t>(dim)), scores(32);
      OpsFor(isa).attention({.q = q.data(),
                             .out = out.data(),
                             .runs = &run,
                             .run_count = 1,
                             .tokens = tokens,
                             .k_stride = dim,
                             .v_stride = dim,
                             .v_dim = dim,
                             .scale = 0.25f,
                             .softcap = c.softcap,
                             .slope = c.slope,
                             .sink = c.sink,
                             .scores = scores.data()});
      if (scalar.empty()) scalar = out;
      EXPECT_EQ(out, scalar) << IsaName(isa);
      for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(out[i], expected[i] / sum, 1e-5) << IsaName(isa);
    }
  }
}

TEST(Ops, AttentionReadsScaledE4m3Codes) {
  const int64_t dim = 16, tokens = 7;
  std::vector<uint8_t> k(static_cast<size_t>(tokens * dim)), v(k.size());
  std::mt19937 rng(21);
  for (auto* codes : {&k, &v})
    for (uint8_t& code : *codes) code = static_cast<uint8_t>((rng() & 0xbf) % 0x7f);
  const auto q = Random(static_cast<size_t>(dim), 22);
  std::vector<double> p;
  double sum = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    double s = 0;
    for (int64_t i = 0; i < dim; ++i)
      s += static_cast<double>(q[static_cast<size_t>(i)]) *
           static_cast<double>(DecodeSmallFloat(DType::kE4M3, k[static_cast<size_t>(t * dim + i)])) * 0.01;
    p.push_back(std::exp(0.25 * s));
    sum += p.back();
  }
  const KvRun run = {k.data(), v.data(), tokens};
  for (Isa isa : IsasHere()) {
    std::vector<float> out(static_cast<size_t>(dim)), scores(16);
    OpsFor(isa).attention({.q = q.data(),
                           .out = out.data(),
                           .runs = &run,
                           .run_count = 1,
                           .tokens = tokens,
                           .k_stride = dim,
                           .v_stride = dim,
                           .v_dim = dim,
                           .dtype = DType::kE4M3,
                           .k_scale = 0.01f,
                           .v_scale = 0.5f,
                           .scale = 0.25f,
                           .scores = scores.data()});
    for (int64_t i = 0; i < dim; ++i) {
      double expected = 0;
      for (int64_t t = 0; t < tokens; ++t)
        expected += p[static_cast<size_t>(t)] / sum *
                    static_cast<double>(DecodeSmallFloat(DType::kE4M3, v[static_cast<size_t>(t * dim + i)])) * 0.5;
      EXPECT_NEAR(out[static_cast<size_t>(i)], expected, 1e-4 * (1 + std::fabs(expected))) << IsaName(isa);
    }
  }
}

}  // namespace
}  // namespace nibble
