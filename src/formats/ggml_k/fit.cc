// SPDX-License-Identifier: Apache-2.0
#include "formats/ggml_k/fit.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "formats/ggml_block.h"

namespace nibble {
namespace {

constexpr int kMaxGroup = 32;

int SignedCode(float x, int half) { return std::clamp(NearestInt(x), -half, half - 1); }

// Weighted sums of x against its codes under one trial scale; weights x^2.
struct SymmetricSums {
  float lx = 0, l2 = 0;
};
SymmetricSums SumSymmetric(const float* x, int n, int half, float inverse) {
  SymmetricSums sums;
  for (int i = 0; i < n; ++i) {
    const auto l = static_cast<float>(SignedCode(inverse * x[i], half));
    const float w = x[i] * x[i];
    sums.lx += w * x[i] * l;
    sums.l2 += w * l * l;
  }
  return sums;
}
void PutSymmetric(const float* x, int n, int half, float inverse, uint8_t* codes) {
  for (int i = 0; i < n; ++i) codes[i] = static_cast<uint8_t>(SignedCode(inverse * x[i], half) + half);
}

}  // namespace

float FitSymmetric(const float* x, int n, int half, uint8_t* codes) {
  const float max = SignedAbsMax(x, n);
  if (std::fabs(max) < kZeroGroup) {
    std::fill_n(codes, n, uint8_t{0});
    return 0;
  }
  float inverse = static_cast<float>(-half) / max;
  SymmetricSums sums = SumSymmetric(x, n, half, inverse);
  PutSymmetric(x, n, half, inverse, codes);
  float scale = sums.l2 != 0 ? sums.lx / sums.l2 : 0, best = scale * sums.lx;
  for (int trial = -9; trial <= 9; ++trial) {
    if (trial == 0) continue;
    inverse = -(static_cast<float>(half) + 0.1f * static_cast<float>(trial)) / max;
    sums = SumSymmetric(x, n, half, inverse);
    if (sums.l2 > 0 && sums.lx * sums.lx > best * sums.l2) {
      PutSymmetric(x, n, half, inverse, codes);
      scale = sums.lx / sums.l2;
      best = scale * sums.lx;
    }
  }
  return scale;
}

float FitByDescent(const float* x, int n, int half, uint8_t* codes) {
  const float max = SignedAbsMax(x, n);
  if (std::fabs(max) < kZeroGroup) {
    std::fill_n(codes, n, uint8_t{0});
    return 0;
  }
  const float inverse = static_cast<float>(-half) / max;
  std::array<int, kMaxGroup> levels;
  for (int i = 0; i < n; ++i) levels[static_cast<size_t>(i)] = SignedCode(inverse * x[i], half);
  auto [sum_lx, sum_l2] = SumSymmetric(x, n, half, inverse);
  for (int sweep = 0; sweep < 5; ++sweep) {
    bool changed = false;
    for (int i = 0; i < n; ++i) {
      int& level = levels[static_cast<size_t>(i)];
      const auto l = static_cast<float>(level);
      const float w = x[i] * x[i];
      float lx = sum_lx - w * x[i] * l;  // without element i
      if (!(lx > 0)) continue;
      float l2 = sum_l2 - w * l * l;
      const int moved = SignedCode(x[i] * l2 / lx, half);
      if (moved == level) continue;
      const auto m = static_cast<float>(moved);
      lx += w * x[i] * m;
      l2 += w * m * m;
      if (l2 > 0 && lx * lx * sum_l2 > sum_lx * sum_lx * l2) {
        level = moved;
        sum_lx = lx;
        sum_l2 = l2;
        changed = true;
      }
    }
    if (!changed) break;
  }
  for (int i = 0; i < n; ++i) codes[i] = static_cast<uint8_t>(levels[static_cast<size_t>(i)] + half);
  return sum_l2 > 0 ? sum_lx / sum_l2 : 0;
}

AffineFit FitAffine(const float* x, const float* weights, int n, const AffineSearch& search, uint8_t* codes) {
  const float max = *std::max_element(x, x + n);
  float min = *std::min_element(x, x + n);
  float sum_w = 0, sum_x = 0;
  for (int i = 0; i < n; ++i) {
    sum_w += weights[i];
    sum_x += weights[i] * x[i];
  }
  if (min > 0) min = 0;
  if (max == min) {
    std::fill_n(codes, n, uint8_t{0});
    return {0, -min};
  }
  const auto top = static_cast<float>(search.max_code);
  const auto make_codes = [&](float inverse, uint8_t* out) {
    for (int i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(std::clamp(NearestInt(inverse * (x[i] - min)), 0, search.max_code));
  };
  const auto error_of = [&](float scale, float offset, const uint8_t* l) {
    float error = 0;
    for (int i = 0; i < n; ++i) {
      const float diff = scale * static_cast<float>(l[i]) + offset - x[i];
      error += weights[i] * (search.absolute ? std::fabs(diff) : diff * diff);
    }
    return error;
  };
  const float inverse = top / (max - min);
  float scale = 1 / inverse;
  make_codes(inverse, codes);
  float best = error_of(scale, min, codes);
  std::array<uint8_t, kMaxGroup> trial;
  for (int s = 0; s <= search.steps; ++s) {
    // An accepted trial's minimum is the base of the later ones.
    make_codes((search.first + search.step * static_cast<float>(s) + top) / (max - min), trial.data());
    float sum_l = 0, sum_l2 = 0, sum_xl = 0;
    for (int i = 0; i < n; ++i) {
      const auto l = static_cast<float>(trial[static_cast<size_t>(i)]);
      sum_l += weights[i] * l;
      sum_l2 += weights[i] * l * l;
      sum_xl += weights[i] * l * x[i];
    }
    const float det = sum_w * sum_l2 - sum_l * sum_l;
    if (!(det > 0)) continue;
    float this_scale = (sum_w * sum_xl - sum_x * sum_l) / det;
    float this_min = (sum_l2 * sum_x - sum_l * sum_xl) / det;
    if (this_min > 0) {
      this_min = 0;
      this_scale = sum_xl / sum_l2;
    }
    const float error = error_of(this_scale, this_min, trial.data());
    if (error < best) {
      std::copy_n(trial.begin(), n, codes);
      best = error;
      scale = this_scale;
      min = this_min;
    }
  }
  return {scale, -min};
}

}  // namespace nibble
