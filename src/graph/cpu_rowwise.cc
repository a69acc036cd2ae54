// SPDX-License-Identifier: Apache-2.0
// The executor's operations on rows: each worker does its own, and a row needs no other.
#include <algorithm>
#include <cmath>

#include "graph/cpu_executor.h"

namespace nibble {

// Angles of each row for each rope, on the worker that owns the row.
void CpuExecutor::FillRopeTables(const Worker& w) {
  const Range rows = MyRows(step_->rows(), w);
  for (size_t r = 0; r < graph_.ropes.size(); ++r) {
    const RopeSpec& rope = graph_.ropes[r];
    const int64_t half = rope.rotary_dims / 2;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const auto position = static_cast<float>(step_->positions[static_cast<size_t>(row)]);
      const auto sequence = static_cast<size_t>(step_->sequence[static_cast<size_t>(row)]);
      const int64_t length = step_->lengths[sequence];
      // Dynamic NTK: the base grows with the sequence (Bloc97's rule as transformers has it). A row's is that of the prompt, or of
      // what had been generated up to it: also when the sequence was sent back and its rows are computed again together.
      double base = 0;
      const int64_t grown =
          rope.dynamic_from > 0 ? std::max<int64_t>(step_->prompts[sequence], step_->positions[static_cast<size_t>(row)] + 1) : 0;
      if (grown > rope.dynamic_from) {
        const double dims = static_cast<double>(rope.rotary_dims),
                     ratio = static_cast<double>(grown) / static_cast<double>(rope.dynamic_from);
        base = rope.theta * std::pow(rope.dynamic_factor * ratio - (rope.dynamic_factor - 1), dims / (dims - 2));
      }
      const bool is_long = rope.long_from > 0 && length > rope.long_from;
      const std::vector<float>& table = is_long ? rope.long_inv_freq : rope.inv_freq;
      const float factor = is_long ? rope.long_attention_factor : rope.attention_factor;
      for (int64_t i = 0; i < half; ++i) {
        const float freq =
            base > 0 ? static_cast<float>(1.0 / std::pow(base, static_cast<double>(2 * i) / static_cast<double>(rope.rotary_dims)))
                     : table[static_cast<size_t>(i)];
        const double angle = static_cast<double>(freq * position);  // the product is rounded to f32, as the models were trained
        rope_cos_[r][static_cast<size_t>(row * half + i)] = static_cast<float>(std::cos(angle)) * factor;
        rope_sin_[r][static_cast<size_t>(row * half + i)] = static_cast<float>(std::sin(angle)) * factor;
      }
    }
  }
}

void CpuExecutor::RunOp(const EmbedOp& op, int64_t count, Worker& w) {
  const StoredWeight& table = *weights_.embeddings[static_cast<size_t>(op.table)];
  const Range rows = MyRows(count, w);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t id = step_->ids[static_cast<size_t>(row)];
    float* out = Data(op.out, w) + row * table.k;
    DecodeRows(table, {id, id + 1}, {0, table.k}, out);
    if (op.scale != 1)
      for (int64_t i = 0; i < table.k; ++i) out[i] *= op.scale;
  }
}

void CpuExecutor::RunOp(const PositionsOp& op, int64_t count, Worker& w) {
  const StoredWeight& table = *weights_.embeddings[static_cast<size_t>(op.table)];
  const Range rows = MyRows(count, w);
  w.row.resize(static_cast<size_t>(table.k));
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t position = step_->positions[static_cast<size_t>(row)] + op.offset;
    DecodeRows(table, {position, position + 1}, {0, table.k}, w.row.data());
    ops_.add(Data(op.into, w) + row * table.k, w.row.data(), 1, table.k);
  }
}

void CpuExecutor::RunOp(const NormOp& op, int64_t count, Worker& w) {
  const auto vector = [&](int id) { return id < 0 ? nullptr : weights_.vectors[static_cast<size_t>(id)].data(); };
  const int64_t stride = Width(op.in), width = op.head_dim ? op.head_dim : stride;
  const Range rows = MyRows(count, w);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t head = 0; head < op.heads; ++head) {
      if (!MyColumns(op.begin + head * width, w)) continue;
      const int64_t at = row * stride + op.begin + head * width;
      const float* weight = vector(op.weight);
      if (op.per_head) weight += head * width;
      if (op.rms)
        ops_.rms_norm(Data(op.in, w) + at, weight, op.offset, op.eps, width, Data(op.out, w) + at);
      else
        ops_.layer_norm(Data(op.in, w) + at, weight, vector(op.bias), op.offset, op.eps, width, Data(op.out, w) + at);
    }
  }
}

void CpuExecutor::RunOp(const RopeOp& op, int64_t count, Worker& w) {
  const RopeSpec& rope = graph_.ropes[static_cast<size_t>(op.rope)];
  const int64_t half = rope.rotary_dims / 2, stride = Width(op.buffer);
  const Range rows = MyRows(count, w);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* cos = rope_cos_[static_cast<size_t>(op.rope)].data() + row * half;
    const float* sin = rope_sin_[static_cast<size_t>(op.rope)].data() + row * half;
    for (int64_t head = 0; head < op.heads; ++head)
      if (MyColumns(op.begin + head * op.head_dim, w))
        ops_.rope(Data(op.buffer, w) + row * stride + op.begin + head * op.head_dim, cos, sin, half, rope.interleaved);
  }
}

void CpuExecutor::RunOp(const PositionScaleOp& op, int64_t count, Worker& w) {
  const Range rows = MyRows(count, w);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t periods = (step_->positions[static_cast<size_t>(row)] + op.shift) / op.period;
    const float factor = 1 + op.scale * std::log(1 + static_cast<float>(periods));
    float* x = Data(op.buffer, w) + row * Width(op.buffer);
    for (int64_t i = 0; i < op.width; ++i) x[i] *= factor;
  }
}

void CpuExecutor::RunOp(const CopyColumnsOp& op, int64_t count, Worker& w) {
  const Range rows = MyRows(count, w);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t block = 0; block < op.blocks; ++block)
      std::copy_n(Data(op.in, w) + row * Width(op.in) + op.in_begin + block * op.in_stride, op.width,
                  Data(op.out, w) + row * Width(op.out) + op.out_begin + block * op.out_stride);
}

void CpuExecutor::RunOp(const ClampOp& op, int64_t count, Worker& w) {
  const int64_t width = Width(op.buffer);
  const Range rows = MyRows(count, w);
  for (float *x = Data(op.buffer, w) + rows.begin * width, *end = Data(op.buffer, w) + rows.end * width; x < end; ++x)
    *x = std::clamp(*x, -op.limit, op.limit);
}

void CpuExecutor::RunOp(const MulOp& op, int64_t count, Worker& w) {
  const int64_t factors = Width(op.from), each = Width(op.into) / factors;
  const Range rows = MyRows(count, w);
  w.row.resize(static_cast<size_t>(factors));
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* from = Data(op.from, w) + row * factors;
    if (op.softplus)
      std::transform(from, from + factors, w.row.begin(), Softplus);
    else
      ops_.gated(op.act, from, nullptr, factors, w.row.data());
    float* x = Data(op.into, w) + row * Width(op.into);
    for (int64_t i = 0; i < factors * each; ++i) x[i] *= w.row[static_cast<size_t>(i / each)];
  }
}

void CpuExecutor::RunOp(const ScaleByOp& op, int64_t count, Worker& w) {
  const std::vector<float>& by = weights_.vectors[static_cast<size_t>(op.vector)];
  const int64_t width = Width(op.buffer);
  const Range rows = MyRows(count, w);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    float* x = Data(op.buffer, w) + row * width;
    for (int64_t i = 0; i < width; ++i) x[i] *= by.size() == 1 ? by[0] : by[static_cast<size_t>(i)];
  }
}

void CpuExecutor::RunOp(const XieluOp& op, int64_t count, Worker& w) {
  const auto softplus = [&](int vector) { return Softplus(weights_.vectors[static_cast<size_t>(vector)][0]); };
  const float p = softplus(op.alpha_p), n = op.beta + softplus(op.alpha_n);
  const int64_t width = Width(op.buffer);
  const Range rows = MyRows(count, w);
  for (float *x = Data(op.buffer, w) + rows.begin * width, *end = Data(op.buffer, w) + rows.end * width; x < end; ++x)
    *x = *x > 0 ? p * *x * *x + op.beta * *x : (std::expm1(std::min(*x, op.eps)) - *x) * n + op.beta * *x;
}

void CpuExecutor::RunGate(const GateRule& rule, const float* gate, const float* up, int64_t width, float* out) const {
  if (rule.limit > 0) return ops_.gated_clamped(gate, up, rule.alpha, rule.limit, width, out);
  ops_.gated(rule.act, gate, up, width, out);
}

void CpuExecutor::RunOp(const GatedOp& op, int64_t count, Worker& w) {
  const Range rows = MyRows(count, w);
  const int64_t stride = Width(op.in);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* x = Data(op.in, w) + row * stride;
    RunGate(op.rule, x, op.gated ? x + op.width : nullptr, op.width, Data(op.out, w) + row * Width(op.out));
  }
}

void CpuExecutor::RunOp(const AddOp& op, int64_t count, Worker& w) {
  const int64_t width = Width(op.into);
  const Range rows = MyRows(count, w);
  ops_.add(Data(op.into, w) + rows.begin * width, Data(op.from, w) + rows.begin * width, op.scale, rows.size() * width);
}

void CpuExecutor::RunOp(const SoftcapOp& op, int64_t count, Worker& w) {
  const int64_t width = Width(op.buffer);
  const Range rows = MyRows(count, w);
  for (float *x = Data(op.buffer, w) + rows.begin * width, *end = Data(op.buffer, w) + rows.end * width; x < end; ++x)
    *x = op.cap > 0 ? op.cap * std::tanh(op.scale * *x / op.cap) : op.scale * *x;
}

}  // namespace nibble
