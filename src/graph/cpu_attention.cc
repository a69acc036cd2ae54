// SPDX-License-Identifier: Apache-2.0
// The executor's K/V cache: rows written, copies of a sequence's ends, attention over elements as they lie or over decoded rows.
#include <algorithm>

#include "graph/cpu_executor.h"
#include "tensors/scalar.h"

namespace nibble {

// One head's row into the cache; e4m3 codes are (x - bias) / scale, saturated.
void CpuExecutor::StoreKv(const KvFormat& format, const float* x, int64_t width, const KvRule& rule, int64_t head, std::byte* out,
                          Worker& w) {
  const int64_t stride = RoundUp(width, 16);
  const float scale = rule.scale_of(head), *bias = format.adds_bias ? rule.bias_of(head, width) : nullptr;
  if (bias) {
    w.unbiased.resize(static_cast<size_t>(width));
    for (int64_t i = 0; i < width; ++i) w.unbiased[static_cast<size_t>(i)] = x[i] - bias[i];
    x = w.unbiased.data();
  }
  if (format.element == DType::kNone) return format.encode(x, width, scale, out);
  if (format.element != DType::kE4M3) return ops_.store(format.element, x, width, stride, out);
  w.row.assign(static_cast<size_t>(stride), 0.0f);
  for (int64_t i = 0; i < width; ++i) w.row[static_cast<size_t>(i)] = x[i] / scale;
  ConvertFromF32(DType::kE4M3, w.row.data(), stride, out);
}

void CpuExecutor::RunOp(const WriteKvOp& op, int64_t count, Worker& w) {
  const LayerState& state = cache_->layer(op.layer);
  const KvFormats& formats = cache_->formats();
  const int64_t stride = Width(op.in), k_bytes = cache_->k_row_bytes(op.layer), v_bytes = cache_->v_row_bytes(op.layer);
  const KvRules& rules = weights_.kv_rules[static_cast<size_t>(op.layer)];
  const Range rows = MyRows(count, w);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const auto table = step_->block_tables[static_cast<size_t>(step_->sequence[static_cast<size_t>(row)])];
    const int64_t position = step_->positions[static_cast<size_t>(row)], slot = position % kPageTokens;
    const int32_t page = table[static_cast<size_t>(position / kPageTokens)];
    const float* x = Data(op.in) + row * stride;
    for (int64_t head = 0; head < state.heads; ++head) {
      StoreKv(*formats.k, x + op.k_begin + head * state.k_dim, state.k_dim, rules.k, head,
              cache_->K(op.layer, page, head) + slot * k_bytes, w);
      StoreKv(*formats.v, x + op.v_begin + head * state.v_dim, state.v_dim, rules.v, head,
              cache_->V(op.layer, page, head) + slot * v_bytes, w);
      if (!cache_->ends()) continue;
      const KvRow copy = EndCopy(op.layer, step_->sequence[static_cast<size_t>(row)], position, head);
      ops_.store(DType::kBF16, x + op.k_begin + head * state.k_dim, state.k_dim, state.k_stride(), copy.k);
      ops_.store(DType::kBF16, x + op.v_begin + head * state.v_dim, state.v_dim, state.v_stride(), copy.v);
    }
  }
}

CpuExecutor::KvRow CpuExecutor::EndCopy(int layer, int32_t sequence, int64_t position, int64_t head) const {
  PagedCache& ends = *cache_->ends();
  const int64_t which = position < kPageTokens ? 0 : 1 + position / kPageTokens % 2, slot = position % kPageTokens;
  const int32_t page = step_->end_pages[static_cast<size_t>(sequence)][static_cast<size_t>(which)];
  return {ends.K(layer, page, head) + slot * ends.k_row_bytes(layer), ends.V(layer, page, head) + slot * ends.v_row_bytes(layer)};
}

Range CpuExecutor::SeenBy(const AttentionOp& op, int64_t row) const {
  const int64_t position = step_->positions[static_cast<size_t>(row)];
  const int64_t of_window = op.window > 0 ? std::max<int64_t>(0, position - op.window + 1) : 0;
  return {op.chunk > 0 ? std::max(of_window, position / op.chunk * op.chunk) : of_window, position + 1};
}

// One query head of one row over the stretches in w.runs, the first of which begins at position `begin`.
void CpuExecutor::AttendHead(const AttentionOp& op, int64_t row, int64_t head, int64_t begin, DType dtype, KvScale scale,
                             Worker& w) {
  const LayerState& state = cache_->layer(op.layer);
  const Range seen = SeenBy(op, row);
  w.scores.resize(std::max(w.scores.size(), static_cast<size_t>(RoundUp(seen.size(), 16))));
  const float* q = Data(op.in) + row * Width(op.in) + op.q_begin + head * op.head_dim;
  if (state.k_stride() != op.head_dim) {
    w.query.assign(static_cast<size_t>(state.k_stride()), 0.0f);
    std::copy(q, q + op.head_dim, w.query.begin());
    q = w.query.data();
  }
  ops_.attention({.q = q,
                  .out = Data(op.out) + row * Width(op.out) + head * op.v_dim,
                  .runs = w.runs.data(),
                  .run_count = static_cast<int64_t>(w.runs.size()),
                  .skip = seen.begin - begin,
                  .tokens = seen.size(),
                  .k_stride = state.k_stride(),
                  .v_stride = state.v_stride(),
                  .v_dim = op.v_dim,
                  .dtype = dtype,
                  .k_scale = scale.k,
                  .v_scale = scale.v,
                  .scale = op.scale,
                  .softcap = op.softcap,
                  .slope = op.slopes.empty() ? 0 : op.slopes[static_cast<size_t>(head)],
                  .sink = op.sinks < 0 ? nullptr : weights_.vectors[static_cast<size_t>(op.sinks)].data() + head,
                  .scores = w.scores.data()});
}

// The cache as it lies.
void CpuExecutor::AttendDirect(const AttentionOp& op, int64_t row, int64_t head, Worker& w) {
  const int64_t kv_head = head / (op.heads / cache_->layer(op.layer).heads);
  const auto table = step_->block_tables[static_cast<size_t>(step_->sequence[static_cast<size_t>(row)])];
  const Range seen = SeenBy(op, row);
  w.runs.clear();
  for (int64_t page = seen.begin / kPageTokens; page * kPageTokens < seen.end; ++page) {
    const int32_t id = table[static_cast<size_t>(page)];
    w.runs.push_back(
        {cache_->K(op.layer, id, kv_head), cache_->V(op.layer, id, kv_head), std::min(kPageTokens, seen.end - page * kPageTokens)});
  }
  const DType dtype = cache_->formats().k->element;
  const KvRules& rules = weights_.kv_rules[static_cast<size_t>(op.layer)];
  const KvScale scale = dtype == DType::kE4M3 ? KvScale{rules.k.scale_of(kv_head), rules.v.scale_of(kv_head)} : KvScale{};
  AttendHead(op, row, head, seen.begin / kPageTokens * kPageTokens, dtype, scale, w);
}

// Rows of one sequence that share a kv head: what they see is decoded once.
void CpuExecutor::AttendDecoded(const AttentionOp& op, Range rows, int64_t kv_head, Worker& w) {
  const LayerState& state = cache_->layer(op.layer);
  const KvFormats& formats = cache_->formats();
  const KvRules& rules = weights_.kv_rules[static_cast<size_t>(op.layer)];
  const float k_scale = rules.k.scale_of(kv_head), *k_bias = rules.k.bias_of(kv_head, state.k_dim);
  const float v_scale = rules.v.scale_of(kv_head), *v_bias = rules.v.bias_of(kv_head, state.v_dim);
  const int32_t sequence = step_->sequence[static_cast<size_t>(rows.begin)];
  const auto table = step_->block_tables[static_cast<size_t>(sequence)];
  Range seen = SeenBy(op, rows.begin);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const Range more = SeenBy(op, row);
    seen = {std::min(seen.begin, more.begin), std::max(seen.end, more.end)};
  }
  const int64_t k_bytes = cache_->k_row_bytes(op.layer), v_bytes = cache_->v_row_bytes(op.layer);
  w.k_rows.resize(std::max(w.k_rows.size(), static_cast<size_t>(seen.size() * state.k_stride())));
  w.v_rows.resize(std::max(w.v_rows.size(), static_cast<size_t>(seen.size() * state.v_stride())));
  const auto decode = [&](int64_t position, bool exact) {
    const int64_t slot = position % kPageTokens;
    const int32_t page = table[static_cast<size_t>(position / kPageTokens)];
    float* k = w.k_rows.data() + (position - seen.begin) * state.k_stride();
    float* v = w.v_rows.data() + (position - seen.begin) * state.v_stride();
    if (exact) {
      static const KvFormats bf16 = DType::kBF16;
      const KvRow copy = EndCopy(op.layer, sequence, position, kv_head);
      DecodeKvRow(*bf16.k, copy.k, state.k_dim, 1, nullptr, k);
      DecodeKvRow(*bf16.v, copy.v, state.v_dim, 1, nullptr, v);
    } else {
      DecodeKvRow(*formats.k, cache_->K(op.layer, page, kv_head) + slot * k_bytes, state.k_dim, k_scale, k_bias, k);
      DecodeKvRow(*formats.v, cache_->V(op.layer, page, kv_head) + slot * v_bytes, state.v_dim, v_scale, v_bias, v);
    }
  };
  // Copies: for the first row here, then moved on with each row.
  const bool ends = cache_->ends() != nullptr;
  const int64_t first = step_->positions[static_cast<size_t>(rows.begin)];
  for (int64_t position = seen.begin; position < seen.end; ++position)
    decode(position, ends && (position < kPageTokens || position > first - kPageTokens));
  const int64_t heads = op.heads / state.heads;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t left = step_->positions[static_cast<size_t>(row)] - kPageTokens;
    if (ends && left >= std::max(kPageTokens, seen.begin)) decode(left, false);
    w.runs.assign(1, {w.k_rows.data(), w.v_rows.data(), SeenBy(op, row).end - seen.begin});
    for (int64_t head = kv_head * heads; head < (kv_head + 1) * heads; ++head)
      AttendHead(op, row, head, seen.begin, DType::kF32, KvScale{}, w);
  }
}

void CpuExecutor::RunOp(const AttentionOp& op, int64_t count, Worker& w) {
  const KvRules& rules = weights_.kv_rules[static_cast<size_t>(op.layer)];
  const bool biased = cache_->formats().k->adds_bias && !(rules.k.bias.empty() && rules.v.bias.empty());
  if (cache_->formats().direct() && !biased) {
    // Later rows see more positions, so (row, head) pairs go round the workers.
    for (int64_t task = w.index; task < count * op.heads; task += team_->size())
      AttendDirect(op, task / op.heads, task % op.heads, w);
    return;
  }
  const int64_t kv_heads = cache_->layer(op.layer).heads;
  int64_t task = 0;
  for (int64_t begin = 0, end = 0; begin < count; begin = end) {
    while (end < count && step_->sequence[static_cast<size_t>(end)] == step_->sequence[static_cast<size_t>(begin)]) ++end;
    for (int64_t kv_head = 0; kv_head < kv_heads; ++kv_head)
      if (task++ % team_->size() == w.index) AttendDecoded(op, {begin, end}, kv_head, w);
  }
}

}  // namespace nibble
