// SPDX-License-Identifier: Apache-2.0
#include "formats/integer_fit.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensors/scalar.h"

namespace nibble {
namespace {

// Scales tried, as multiples of the plain one. Above 1: for symmetric codes max|w| itself becomes a code at 1.07 (4 bits).
constexpr float kLargest = 1.10f, kStep = 0.02f;
constexpr int kSteps = 41;  // down to 0.30
constexpr int kRefits = 3;
constexpr int kLanes = 8;

// Nearest integer, ties to even, of 0 <= x < 2^22; two additions, so that loops become vector code everywhere.
inline float Nearest(float x) { return (x + 12582912.0f) - 12582912.0f; }

inline float NearestCode(float w, float scale, float zero, float largest) {
  return Nearest(std::min(std::max(w / scale + zero, 0.0f), largest));
}

// The order of the additions is part of the definition: eight partial sums by index modulo 8, then in order.
template <typename Term>
double SumLanes(int64_t count, Term term) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  for (int lane = 0; i < count; ++i, ++lane) lanes[lane] += term(i);
  double sum = 0;
  for (const float lane : lanes) sum += static_cast<double>(lane);
  return sum;
}

class Group {
 public:
  Group(const float* w, const float* importance, int64_t count, const IntegerFitOptions& options)
      : w_(w), importance_(importance), count_(count), options_(options), largest_(static_cast<float>((1 << options.bits) - 1)) {
    const auto [low, high] = std::minmax_element(w, w + count);
    low_ = std::min(*low, 0.0f);
    high_ = std::max(*high, 0.0f);
  }

  IntegerFit Fit() {
    const float span = options_.symmetric ? 2 * std::max(high_, -low_) : high_ - low_;
    const float middle = options_.symmetric ? static_cast<float>(1 << (options_.bits - 1)) : 0.0f;
    if (span == 0) return {ScaleOfZeros(options_.scale_dtype), middle};
    plain_ = span / largest_;
    // Weights beyond half of f32's range: their span has no f32.
    if (!std::isfinite(plain_)) plain_ = std::max(high_, -low_) / largest_ * 2;
    const float scale = RoundScale(options_.scale_dtype, plain_);
    best_ = {scale, options_.symmetric ? middle : ZeroOf(scale)};
    if (!options_.search) return best_;
    // Squares must neither overflow nor vanish.
    if (plain_ > 1e15f || plain_ < 1e-15f) return best_;
    best_error_ = Error(best_);
    for (int i = 0; i < kSteps; ++i) Try(plain_ * (kLargest - kStep * static_cast<float>(i)), middle);
    for (int i = 0; i < kRefits && Refit(); ++i) {
    }
    return best_;
  }

 private:
  float ZeroOf(float scale) const { return Nearest(std::min(std::max(-low_ / scale, 0.0f), largest_)); }

  double Error(const IntegerFit& fit) const {
    const float* w = w_;
    const float scale = fit.scale, zero = fit.zero, largest = largest_;
    if (importance_) {
      const float* h = importance_;
      return SumLanes(count_, [=](int64_t i) {
        const float d = w[i] - scale * (NearestCode(w[i], scale, zero, largest) - zero);
        return h[i] * (d * d);
      });
    }
    return SumLanes(count_, [=](int64_t i) {
      const float d = w[i] - scale * (NearestCode(w[i], scale, zero, largest) - zero);
      return d * d;
    });
  }

  bool Keep(const IntegerFit& fit) {
    const double error = Error(fit);
    if (!(error < best_error_)) return false;
    best_ = fit;
    best_error_ = error;
    return true;
  }

  void Try(float wanted, float middle) {
    const float scale = RoundScale(options_.scale_dtype, wanted);
    if (options_.symmetric) {
      Keep({scale, middle});
      if (options_.bits <= 6) Keep({-scale, middle});
      return;
    }
    const float zero = ZeroOf(scale);
    for (const float shift : {0.0f, -1.0f, 1.0f})
      if (zero + shift >= 0 && zero + shift <= largest_) Keep({scale, zero + shift});
  }

  // The scale that is best for the codes of the best scale so far.
  bool Refit() {
    const float* w = w_;
    const float* h = importance_;
    const float scale = best_.scale, zero = best_.zero, largest = largest_;
    const double above =
        SumLanes(count_, [=](int64_t i) { return (h ? h[i] : 1.0f) * (w[i] * (NearestCode(w[i], scale, zero, largest) - zero)); });
    const double below = SumLanes(count_, [=](int64_t i) {
      const float code = NearestCode(w[i], scale, zero, largest) - zero;
      return (h ? h[i] : 1.0f) * (code * code);
    });
    if (!(below > 0) || above == 0 || !std::isfinite(above)) return false;
    const auto fitted = static_cast<float>(above / below);
    const float rounded = RoundScale(options_.scale_dtype, std::fabs(fitted));
    return Keep({fitted < 0 ? -rounded : rounded, zero});
  }

  const float* w_;
  const float* importance_;
  const int64_t count_;
  const IntegerFitOptions& options_;
  const float largest_;
  float low_ = 0, high_ = 0, plain_ = 0;
  IntegerFit best_;
  double best_error_ = 0;
};

}  // namespace

float RoundScale(DType scale_dtype, float x) {
  std::byte stored[4];
  StoreScalar(scale_dtype, stored, 0, x);
  const float rounded = LoadScalar(scale_dtype, stored, 0);
  const float smallest = scale_dtype == DType::kF16 ? 0x1p-24f : std::numeric_limits<float>::min();
  const float largest = scale_dtype == DType::kF16    ? 65504.0f
                        : scale_dtype == DType::kBF16 ? 0x1.FEp127f
                                                      : std::numeric_limits<float>::max();
  return std::min(std::max(rounded, smallest), largest);
}

float ScaleOfZeros(DType scale_dtype) {
  return scale_dtype == DType::kF16 ? 0x1p-10f : scale_dtype == DType::kBF16 ? 0x1p-7f : 0x1p-23f;
}

IntegerFit FitIntegers(const float* w, const float* importance, int64_t count, const IntegerFitOptions& options) {
  return Group(w, importance, count, options).Fit();
}

void EncodeIntegers(const float* w, int64_t count, int bits, const IntegerFit& fit, uint8_t* codes) {
  const float largest = static_cast<float>((1 << bits) - 1);
  for (int64_t i = 0; i < count; ++i) codes[i] = static_cast<uint8_t>(NearestCode(w[i], fit.scale, fit.zero, largest));
}

}  // namespace nibble
