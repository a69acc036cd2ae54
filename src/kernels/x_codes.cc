// SPDX-License-Identifier: Apache-2.0
#include "kernels/x_codes.h"

#include <algorithm>
#include <cstring>

#include "base/cpu.h"
#include "kernels/cpu/ops/ops.h"

namespace nibble {
namespace {

// Codes less their zero point, which the record cannot hold, and the scale of each record.
void MethodCodes(const ActivationSpec& act, const float* x, int64_t k, int16_t* codes, float* record_scales) {
  std::vector<int8_t> stored(static_cast<size_t>(k));
  std::vector<float> scales(static_cast<size_t>(ActivationScales(act, k))), zeros(scales.size());
  QuantizeActivationRow(act, x, k, nullptr, stored.data(), scales.data(), zeros.data());
  const int64_t group = act.grain == ActivationSpec::kGroup ? act.group : k;
  for (int64_t i = 0; i < k; ++i) {
    const auto g = static_cast<size_t>(i / group);
    codes[i] = static_cast<int16_t>(stored[static_cast<size_t>(i)] - static_cast<int>(zeros[g]));
    if (i % kXStep == 0) record_scales[i / kXStep] = scales[g];
  }
}

void WriteRecord(XForm form, float scale, const int16_t* codes, std::byte* out) {
  XHeader header{.scale = scale};
  for (int i = 0; i < kXStep; ++i)
    for (const int span : {0, i < kXStep / 2 ? 1 : 2}) {
      header.sum[span] += codes[i];
      header.pair[span][i / 2 % 2] = static_cast<int16_t>(header.pair[span][i / 2 % 2] + codes[i]);
    }
  for (int h = 0; h < 2; ++h) header.half[h] = static_cast<int16_t>(header.sum[1 + h]);
  std::memcpy(out, &header, kXHeaderBytes);
  std::byte* at = out + kXHeaderBytes;
  if (form == XForm::kI8) {
    for (int i = 0; i < kXStep; ++i) at[i] = static_cast<std::byte>(codes[i]);
    return;
  }
  static constexpr int kOrder[4] = {0, 2, 1, 3};
  for (int i = 0; i < kXStep; ++i) std::memcpy(at + 2 * i, codes + (i & ~3) + kOrder[i & 3], 2);
}

}  // namespace

ActivationSpec PolicyActivations(ActivationPolicy policy, const StoredWeight& weight) {
  // Up to here the format's own rounding costs ten times more than 8-bit activations do (docs/activations.md): q5_1 has 6 bits a
  // weight, 6-bit codes with their scales more.
  constexpr double kNarrow = 6.05;
  const ActivationSpec int8{.grain = ActivationSpec::kGroup, .code = DType::kI8, .group = kXStep};
  const ActivationSpec int16{.grain = ActivationSpec::kGroup, .code = DType::kI16, .bits = 16, .group = kXStep};
  switch (policy) {
    case ActivationPolicy::kF32: return {};
    case ActivationPolicy::kInt8: return int8;
    case ActivationPolicy::kInt16: return int16;
    case ActivationPolicy::kAuto: return BitsPerWeight(weight) <= kNarrow ? int8 : int16;
  }
  return {};
}

void WriteXCodes(XForm form, const ActivationSpec& act, const float* x, int64_t k, int64_t row, int64_t m, std::byte* out,
                 std::vector<std::byte>* scratch) {
  const int64_t bytes = XRecordBytes(form), steps = CeilDiv(k, kXStep);
  const bool own = act.rule == ActivationSpec::kEngine && act.grain == ActivationSpec::kGroup && act.group == kXStep &&
                   act.symmetric && act.scale_code == ActivationSpec::kFloat && act.upper_bound == 0 &&
                   (act.bits == 8 || act.code == DType::kI16);
  if (own) {
    OpsFor(Cpu().isa).quantize_groups(x, k, act.code == DType::kI16 ? 16 : 8, form == XForm::kI16, out + row * bytes, m * bytes);
    return;
  }
  scratch->assign(static_cast<size_t>(steps * (kXStep * 2 + 4)), std::byte{0});
  auto* scales = reinterpret_cast<float*>(scratch->data());
  auto* codes = reinterpret_cast<int16_t*>(scratch->data() + steps * 4);
  MethodCodes(act, x, k, codes, scales);
  for (int64_t step = 0; step < steps; ++step)
    WriteRecord(form, scales[step], codes + step * kXStep, out + (step * m + row) * bytes);
}

}  // namespace nibble
