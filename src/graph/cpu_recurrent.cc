// SPDX-License-Identifier: Apache-2.0
// The executor's operations on rewritten states. Work is divided by sequence and head (or stretch of channels); one worker takes
// the rows of its share one after another, so a result does not depend on how a prompt was cut, on threads or on the rest of the
// batch.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "graph/cpu_executor.h"

namespace nibble {
namespace {

constexpr int64_t kChannelsAtOnce = 64;  // of a convolution, by one worker

// Divides by the length, with the 1e-6 under the root that models were trained with; then times `scale`.
void Normalize(const float* x, int64_t width, float scale, float* out) {
  float sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += x[i] * x[i];
  const float factor = scale / std::sqrt(sum + 1e-6f);
  for (int64_t i = 0; i < width; ++i) out[i] = x[i] * factor;
}

// s = decay s + k v^T; out = q^T s.
void Advance(float decay, const float* q, const float* k, const float* v, int64_t k_dim, int64_t v_dim, float* s, float* out) {
  std::fill(out, out + v_dim, 0.0f);
  for (int64_t i = 0; i < k_dim; ++i, s += v_dim)
    for (int64_t j = 0; j < v_dim; ++j) {
      s[j] = decay * s[j] + k[i] * v[j];
      out[j] += q[i] * s[j];
    }
}

// What the decayed state would answer to k, taken from v: out = beta (v - decay k^T s).
void Correction(float decay, float beta, const float* k, const float* v, int64_t k_dim, int64_t v_dim, const float* s, float* out) {
  std::fill(out, out + v_dim, 0.0f);
  for (int64_t i = 0; i < k_dim; ++i, s += v_dim)
    for (int64_t j = 0; j < v_dim; ++j) out[j] += k[i] * s[j];
  for (int64_t j = 0; j < v_dim; ++j) out[j] = beta * (v[j] - decay * out[j]);
}

}  // namespace

template <typename Part>
void CpuExecutor::EachSequencePart(int64_t rows, int64_t parts, const Worker& w, const Part& run) const {
  int64_t task = 0;
  for (int64_t begin = 0, end = 0; begin < rows; begin = end) {
    while (end < rows && step_->sequence[static_cast<size_t>(end)] == step_->sequence[static_cast<size_t>(begin)]) ++end;
    for (int64_t part = 0; part < parts; ++part)
      if (task++ % team_->size() == w.index) run(Range{begin, end}, part);
  }
}

CpuExecutor::SlotState CpuExecutor::StateAt(int layer, int64_t row) const {
  const auto sequence = static_cast<size_t>(step_->sequence[static_cast<size_t>(row)]);
  NIBBLE_CHECK(sequence < step_->slots.size(), "sequence {} has no slot for its state", sequence);
  return {cache_->slots()->At(layer, step_->slots[sequence]), step_->positions[static_cast<size_t>(row)] == 0};
}

void CpuExecutor::Convolve(const ShortConvOp& op, Range rows, Range channels, Worker& w) {
  const int64_t width = Width(op.out), past = op.kernel - 1, n = channels.size();
  // Where these channels stand in the layer's weight.
  std::array<int64_t, kChannelsAtOnce> stored{};
  int64_t first = 0;
  for (const Range& range : op.channels) {
    for (int64_t c = std::max(channels.begin, first); c < std::min(channels.end, first + range.size()); ++c)
      stored[static_cast<size_t>(c - channels.begin)] = range.begin + c - first;
    first += range.size();
  }
  const float* weight = weights_.vectors[static_cast<size_t>(op.weight)].data();
  const float* bias = op.bias < 0 ? nullptr : weights_.vectors[static_cast<size_t>(op.bias)].data();
  const auto [state, fresh] = StateAt(op.layer, rows.begin);
  w.row.resize(static_cast<size_t>(kChannelsAtOnce));
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* in = Data(op.in, w) + row * Width(op.in);
    float* out = Data(op.out, w) + row * width + channels.begin;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t c = channels.begin + i, s = stored[static_cast<size_t>(i)];
      float* kept = state + c;  // input j at kept[j * width], oldest first
      float u = in[op.begin + c], y = bias ? bias[s] : 0;
      if (op.before >= 0) u *= in[op.before + c];
      for (int64_t j = 0; j < past; ++j) {
        if (fresh && row == rows.begin) kept[j * width] = 0;
        y += weight[s * op.kernel + j] * kept[j * width];
      }
      for (int64_t j = 0; j + 1 < past; ++j) kept[j * width] = kept[(j + 1) * width];
      if (past > 0) kept[(past - 1) * width] = u;
      w.row[static_cast<size_t>(i)] = y + weight[s * op.kernel + past] * u;
    }
    if (op.silu)
      ops_.gated(Activation::kSilu, w.row.data(), nullptr, n, out);
    else
      std::copy_n(w.row.data(), n, out);
    if (op.after >= 0)
      for (int64_t i = 0; i < n; ++i) out[i] *= in[op.after + channels.begin + i];
  }
}

void CpuExecutor::RunOp(const ShortConvOp& op, int64_t count, Worker& w) {
  const int64_t width = Width(op.out);
  EachSequencePart(count, CeilDiv(width, kChannelsAtOnce), w, [&](Range rows, int64_t part) {
    const int64_t begin = part * kChannelsAtOnce;
    Convolve(op, rows, {begin, std::min(begin + kChannelsAtOnce, width)}, w);
  });
}

void CpuExecutor::RunOp(const GatedDeltaOp& op, int64_t count, Worker& w) {
  const int64_t values_of_key = op.v_heads / op.k_heads, k_at = op.k_heads * op.k_dim, v_at = 2 * k_at;
  const float scale = 1.0f / std::sqrt(static_cast<float>(op.k_dim));
  w.row.resize(static_cast<size_t>(2 * op.k_dim + op.v_dim));
  float *q = w.row.data(), *k = q + op.k_dim, *delta = k + op.k_dim;
  EachSequencePart(count, op.v_heads, w, [&](Range rows, int64_t head) {
    const auto [states, fresh] = StateAt(op.layer, rows.begin);
    float* s = states + head * op.k_dim * op.v_dim;
    if (fresh) std::fill(s, s + op.k_dim * op.v_dim, 0.0f);
    const float rate = std::exp(weights_.vectors[static_cast<size_t>(op.a_log)][static_cast<size_t>(head)]);
    const float dt_bias = weights_.vectors[static_cast<size_t>(op.dt_bias)][static_cast<size_t>(head)];
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const float* in = Data(op.in, w) + row * Width(op.in);
      const float* gates = Data(op.gates, w) + row * Width(op.gates);
      const float* v = in + v_at + head * op.v_dim;
      Normalize(in + head / values_of_key * op.k_dim, op.k_dim, scale, q);
      Normalize(in + k_at + head / values_of_key * op.k_dim, op.k_dim, 1, k);
      const float decay = std::exp(-rate * Softplus(gates[op.a_begin + head] + dt_bias));
      const float beta = 1 / (1 + std::exp(-gates[op.b_begin + head]));
      Correction(decay, beta, k, v, op.k_dim, op.v_dim, s, delta);
      Advance(decay, q, k, delta, op.k_dim, op.v_dim, s, Data(op.out, w) + row * Width(op.out) + head * op.v_dim);
    }
  });
}

void CpuExecutor::RunOp(const LightningOp& op, int64_t count, Worker& w) {
  const int64_t k_at = op.heads * op.k_dim, v_at = 2 * k_at;
  EachSequencePart(count, op.heads, w, [&](Range rows, int64_t head) {
    const auto [states, fresh] = StateAt(op.layer, rows.begin);
    float* s = states + head * op.k_dim * op.v_dim;
    if (fresh) std::fill(s, s + op.k_dim * op.v_dim, 0.0f);
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const float* in = Data(op.in, w) + row * Width(op.in);
      Advance(op.decay[static_cast<size_t>(head)], in + head * op.k_dim, in + k_at + head * op.k_dim, in + v_at + head * op.v_dim,
              op.k_dim, op.v_dim, s, Data(op.out, w) + row * Width(op.out) + head * op.v_dim);
    }
  });
}

}  // namespace nibble
