// SPDX-License-Identifier: Apache-2.0
// The executor's K/V cache: rows written, copies of a sequence's ends, attention over elements as they
// lie or over decoded rows (kernels/cpu/attention), divided among the workers.
#include <algorithm>
#include <cstring>
#include <limits>

#include "graph/cpu_executor.h"
#include "tensors/scalar.h"

namespace nibble {

namespace {

// Queries of one unit of work: what shares a pass over keys and values. Decoding an encoded cache costs more than reading elements.
constexpr int64_t kUnitQueries = 128, kUnitQueriesDecoded = 256;

// At least so many floats, aligned; what was in it may be gone.
float* Scratch(Buffer& buffer, int64_t floats) {
  const int64_t bytes = floats * static_cast<int64_t>(sizeof(float));
  if (buffer.size_bytes() < bytes) buffer = Buffer(RoundUp(bytes, 1 << 16));
  return reinterpret_cast<float*>(buffer.data());
}

AttentionSums SumsAt(float* at, int64_t queries, int64_t v_stride, int64_t first = 0) {
  float *out = at + first * v_stride, *max = at + queries * v_stride + first;
  return {max, max + queries, out};
}
int64_t SumsFloats(int64_t queries, int64_t v_stride) { return RoundUp(queries * (2 + v_stride), 16); }

// Where a page keeps a row of elements: side by side or, of keys, kPageTokens apart; behind all rows a scale of each (row_scale).
struct PageRow {
  const KvFormat& format;
  bool transposed;
  int64_t width, slot;  // width: padded

  int64_t bytes() const { return DTypeBytes(format.element); }
  int64_t scale_at() const { return kPageTokens * width * bytes() + slot * 4; }
  void Put(const std::byte* row, std::byte* page) const {
    if (format.row_scale) {
      std::memcpy(page + scale_at(), row, 4);
      row += 4;
    }
    if (!transposed) std::memcpy(page + slot * width * bytes(), row, static_cast<size_t>(width * bytes()));
    for (int64_t i = 0; i < width && transposed; ++i)
      std::memcpy(page + (i * kPageTokens + slot) * bytes(), row + i * bytes(), static_cast<size_t>(bytes()));
  }
  void Get(const std::byte* page, std::byte* row) const {
    if (format.row_scale) {
      std::memcpy(row, page + scale_at(), 4);
      row += 4;
    }
    if (!transposed) std::memcpy(row, page + slot * width * bytes(), static_cast<size_t>(width * bytes()));
    for (int64_t i = 0; i < width && transposed; ++i)
      std::memcpy(row + i * bytes(), page + (i * kPageTokens + slot) * bytes(), static_cast<size_t>(bytes()));
  }
};

}  // namespace

// One head's row as the cache stores it; e4m3 codes are (x - bias) / scale, saturated.
void CpuExecutor::EncodeKv(const KvFormat& format, const float* x, int64_t width, const KvRule& rule, int64_t head, std::byte* out,
                           Worker& w) {
  const int64_t stride = RoundUp(width, 16);
  const float scale = rule.scale_of(head), *bias = format.adds_bias ? rule.bias_of(head, width) : nullptr;
  if (bias) {
    w.unbiased.resize(static_cast<size_t>(width));
    for (int64_t i = 0; i < width; ++i) w.unbiased[static_cast<size_t>(i)] = x[i] - bias[i];
    x = w.unbiased.data();
  }
  if (format.encode) return format.encode(x, width, scale, out);
  if (format.element != DType::kE4M3) return ops_.store(format.element, x, width, stride, out);
  w.row.assign(static_cast<size_t>(stride), 0.0f);
  for (int64_t i = 0; i < width; ++i) w.row[static_cast<size_t>(i)] = x[i] / scale;
  ConvertFromF32(DType::kE4M3, w.row.data(), stride, out);
}

void CpuExecutor::StoreKv(PagedCache& cache, const KvSlot& at, const float* k, const float* v, Worker& w) {
  const LayerState& state = cache.layer(at.layer);
  const KvRules& rules = weights_.kv_rules[static_cast<size_t>(at.layer)];
  const auto store = [&](const KvFormat& format, bool transposed, const float* x, int64_t width, const KvRule& rule, int64_t bytes,
                         std::byte* page) {
    if (!transposed && (!format.row_scale || state.kind == StateKind::kLatent))
      return EncodeKv(format, x, width, rule, at.head, page + at.slot * bytes, w);
    w.kv_row.assign(static_cast<size_t>(bytes), std::byte{0});
    EncodeKv(format, x, width, rule, at.head, w.kv_row.data(), w);
    PageRow{format, transposed, RoundUp(width, 16), at.slot}.Put(w.kv_row.data(), page);
  };
  store(*cache.formats().k, cache.transposed(at.layer), k, state.k_dim, rules.k, cache.k_row_bytes(at.layer),
        cache.K(at.layer, at.page, at.head));
  if (const int64_t bytes = cache.v_row_bytes(at.layer); bytes > 0)
    store(*cache.formats().v, false, v, state.v_dim, rules.v, bytes, cache.V(at.layer, at.page, at.head));
}

// The same back as f32: k into its column of a page of keys [k_stride][kPageTokens], v [v_stride].
void CpuExecutor::LoadKv(PagedCache& cache, const KvSlot& at, float* k_page, float* v, Worker& w) {
  const LayerState& state = cache.layer(at.layer);
  const KvRules& rules = weights_.kv_rules[static_cast<size_t>(at.layer)];
  const auto load = [&](const KvFormat& format, bool transposed, const std::byte* page, int64_t width, const KvRule& rule,
                        int64_t bytes, float* out) {
    const std::byte* row = page + at.slot * bytes;
    if (transposed || (format.row_scale && state.kind != StateKind::kLatent)) {
      w.kv_row.resize(std::max(w.kv_row.size(), static_cast<size_t>(bytes)));
      PageRow{format, transposed, RoundUp(width, 16), at.slot}.Get(page, w.kv_row.data());
      row = w.kv_row.data();
    }
    DecodeKvRow(format, row, width, rule.scale_of(at.head), rule.bias_of(at.head, width), out);
  };
  w.row.resize(std::max(w.row.size(), static_cast<size_t>(state.k_stride())));
  load(*cache.formats().k, cache.transposed(at.layer), cache.K(at.layer, at.page, at.head), state.k_dim, rules.k,
       cache.k_row_bytes(at.layer), w.row.data());
  for (int64_t i = 0; i < state.k_stride(); ++i) k_page[i * kPageTokens + at.slot] = w.row[static_cast<size_t>(i)];
  if (const int64_t bytes = cache.v_row_bytes(at.layer); bytes > 0)
    return load(*cache.formats().v, false, cache.V(at.layer, at.page, at.head), state.v_dim, rules.v, bytes, v);
  std::copy_n(w.row.data(), state.v_dim, v);
  std::fill(v + state.v_dim, v + state.v_stride(), 0.0f);
}

CpuExecutor::KvSlot CpuExecutor::SlotOf(int layer, int32_t sequence, int64_t position, int64_t head) const {
  const size_t sequences = step_->lengths.size(), group = static_cast<size_t>(cache_->group_of(layer));
  const auto table = step_->block_tables[group * sequences + static_cast<size_t>(sequence)];
  return {layer, table[static_cast<size_t>(position / kPageTokens)], head, position % kPageTokens};
}

// The copy of a position near one of a sequence's ends, in PagedCache::ends().
CpuExecutor::KvSlot CpuExecutor::EndSlotOf(int layer, int32_t sequence, int64_t position, int64_t head) const {
  const int64_t which = position < kPageTokens ? 0 : 1 + position / kPageTokens % 2;
  return {layer, step_->end_pages[static_cast<size_t>(sequence)][static_cast<size_t>(which)], head, position % kPageTokens};
}

void CpuExecutor::RunOp(const WriteKvOp& op, int64_t count, Worker& w) {
  const LayerState& state = cache_->layer(op.layer);
  const int64_t stride = Width(op.in);
  const Range rows = MyRows(count, w);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int32_t sequence = step_->sequence[static_cast<size_t>(row)];
    const int64_t position = step_->positions[static_cast<size_t>(row)];
    const float* x = Data(op.in, w) + row * stride;
    for (int64_t head = 0; head < state.heads; ++head) {
      if (!MyHead(head, w)) continue;
      const float *k = x + op.k_begin + head * state.k_dim, *v = x + op.v_begin + head * state.v_dim;
      StoreKv(*cache_, SlotOf(op.layer, sequence, position, head), k, v, w);
      if (cache_->ends()) StoreKv(*cache_->ends(), EndSlotOf(op.layer, sequence, position, head), k, v, w);
    }
  }
}

Range CpuExecutor::SeenBy(const AttentionOp& op, int64_t row) const {
  const int64_t position = step_->positions[static_cast<size_t>(row)];
  const int64_t of_window = op.window > 0 ? std::max<int64_t>(0, position - op.window + 1) : 0;
  return {op.chunk > 0 ? std::max(of_window, position / op.chunk * op.chunk) : of_window, position + 1};
}

bool CpuExecutor::ReadsElements(const AttentionOp& op) const {
  const KvRules& rules = weights_.kv_rules[static_cast<size_t>(op.layer)];
  const bool biased = cache_->formats().k->adds_bias && !(rules.k.bias.empty() && rules.v.bias.empty());
  return cache_->formats().direct() && !biased && cache_->layer(op.layer).kind != StateKind::kLatent;
}

void CpuExecutor::FindUnits(const AttentionOp& op, int64_t count, Worker& w) const {
  const int64_t kv_heads = cache_->layer(op.layer).heads, group = op.heads / kv_heads;
  const int64_t most = ReadsElements(op) ? kUnitQueries : kUnitQueriesDecoded;
  const int64_t heads = std::min(group, most), rows = std::max<int64_t>(1, most / heads);
  w.units.clear();
  for (int64_t begin = 0, end = 0; begin < count; begin = end) {
    while (end < count && end < begin + rows &&
           step_->sequence[static_cast<size_t>(end)] == step_->sequence[static_cast<size_t>(begin)])
      ++end;
    Range seen = SeenBy(op, begin);
    for (int64_t row = begin; row < end; ++row) {
      const Range more = SeenBy(op, row);
      seen = {std::min(seen.begin, more.begin), std::max(seen.end, more.end)};
    }
    for (int64_t kv_head = 0; kv_head < kv_heads; ++kv_head)
      for (int64_t head = 0; head < group; head += heads)
        w.units.push_back({{begin, end}, kv_head, {kv_head * group + head, kv_head * group + std::min(group, head + heads)}, seen});
  }
  // A head's keys and values stay in cache from one block of rows to the next.
  std::stable_sort(w.units.begin(), w.units.end(),
                   [](const AttentionUnit& a, const AttentionUnit& b) { return a.kv_head < b.kv_head; });
}

// The queries of a unit side by side, padded.
void CpuExecutor::GatherQueries(const AttentionOp& op, const AttentionUnit& unit, Worker& w) {
  const int64_t stride = cache_->layer(op.layer).k_stride();
  w.slopes.clear();
  float* out = Scratch(w.queries, unit.queries() * stride);
  for (int64_t row = unit.rows.begin; row < unit.rows.end; ++row) {
    for (int64_t head = unit.heads.begin; head < unit.heads.end; ++head, out += stride) {
      const float* q = Data(op.in, w) + row * Width(op.in) + op.q_begin + head * op.head_dim;
      std::fill(std::copy(q, q + op.head_dim, out), out + stride, 0.0f);
      if (!op.slopes.empty()) w.slopes.push_back(op.slopes[static_cast<size_t>(head)]);
    }
  }
}

// Queries [rows] of a unit over one stretch whose pages are in s.
void CpuExecutor::AttendRows(const AttentionOp& op, const AttentionUnit& unit, Range rows, int64_t begin, AttentionStretch s,
                             const AttentionSums& partial, Worker& w) {
  const int64_t heads = unit.heads.size(), first = (rows.begin - unit.rows.begin) * heads;
  w.seen.clear();
  w.last.clear();
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const Range seen = SeenBy(op, row);
    for (int64_t head = 0; head < heads; ++head) {
      w.seen.push_back({std::max(seen.begin - begin, s.slots.begin), std::min(seen.end - begin, s.slots.end)});
      w.last.push_back(step_->positions[static_cast<size_t>(row)] - begin);
    }
  }
  s.queries = rows.size() * heads;
  s.q = reinterpret_cast<const float*>(w.queries.data()) + first * s.k_dim;
  s.seen = w.seen.data();
  s.slopes = w.slopes.empty() ? nullptr : w.slopes.data() + first;
  s.last = w.last.data();
  s.scratch = Scratch(w.scores, AttentionStretch::ScratchFloats(s.queries, s.k_dim, s.v_dim));
  attention_.stretch(s, {partial.max + first, partial.sum + first, partial.out + first * s.v_dim});
}

// One stretch of an encoded cache as f32. Near the ends of the sequence, where copies are kept, what is exact moves on with each
// row.
void CpuExecutor::AttendDecoded(const AttentionOp& op, const AttentionUnit& unit, int64_t begin, AttentionStretch s,
                                const AttentionSums& partial, Worker& w) {
  const int32_t sequence = step_->sequence[static_cast<size_t>(unit.rows.begin)];
  const int64_t k_page = s.k_dim * kPageTokens, v_page = s.v_dim * kPageTokens;
  float *keys = Scratch(w.kv_rows, kStretchPages * (k_page + v_page)), *values = keys + kStretchPages * k_page;
  for (int64_t page = 0; page < kStretchPages; ++page) {
    s.k[page] = keys + page * k_page;
    s.v[page] = values + page * v_page;
  }
  const auto load = [&](int64_t position, bool exact) {
    const int64_t slot = position - begin;
    float *k = keys + slot / kPageTokens * k_page, *v = values + slot * s.v_dim;
    if (exact)
      LoadKv(*cache_->ends(), EndSlotOf(op.layer, sequence, position, unit.kv_head), k, v, w);
    else
      LoadKv(*cache_, SlotOf(op.layer, sequence, position, unit.kv_head), k, v, w);
  };
  const bool ends = cache_->ends() != nullptr;
  const int64_t first = step_->positions[static_cast<size_t>(unit.rows.begin)];
  for (int64_t position = begin + s.slots.begin; position < begin + s.slots.end; ++position)
    load(position, ends && (position < kPageTokens || position > first - kPageTokens));
  if (!ends) return AttendRows(op, unit, unit.rows, begin, s, partial, w);
  for (int64_t row = unit.rows.begin; row < unit.rows.end; ++row) {
    const int64_t left = step_->positions[static_cast<size_t>(row)] - kPageTokens;
    if (left >= std::max(kPageTokens, begin + s.slots.begin) && left < begin + s.slots.end) load(left, false);
    AttendRows(op, unit, {row, row + 1}, begin, s, partial, w);
  }
}

// The partial softmax of a unit over the stretch that begins at position `begin`.
void CpuExecutor::AttendStretch(const AttentionOp& op, const AttentionUnit& unit, int64_t begin, const AttentionSums& partial,
                                Worker& w) {
  const LayerState& state = cache_->layer(op.layer);
  const KvRules& rules = weights_.kv_rules[static_cast<size_t>(op.layer)];
  AttentionStretch s;
  s.slots = {std::max<int64_t>(0, unit.seen.begin - begin), std::min(kStretch, unit.seen.end - begin)};
  s.k_dim = state.k_stride();
  s.v_dim = state.v_stride();
  s.scale = op.scale;
  s.softcap = op.softcap;
  if (!ReadsElements(op)) return AttendDecoded(op, unit, begin, s, partial, w);
  s.dtype = cache_->formats().k->element;
  s.row_scale = cache_->formats().k->row_scale;
  if (cache_->formats().k->scaled_by_rule()) s.scale *= rules.k.scale_of(unit.kv_head);
  const int32_t sequence = step_->sequence[static_cast<size_t>(unit.rows.begin)];
  for (int64_t page = s.slots.begin / kPageTokens; page * kPageTokens < s.slots.end; ++page) {
    const KvSlot at = SlotOf(op.layer, sequence, begin + page * kPageTokens, unit.kv_head);
    s.k[page] = cache_->K(at.layer, at.page, at.head);
    s.v[page] = cache_->V(at.layer, at.page, at.head);
    const int64_t next = begin + page * kPageTokens + kStretch;
    if (next < unit.seen.end) s.next_k[page] = cache_->K(at.layer, SlotOf(op.layer, sequence, next, unit.kv_head).page, at.head);
  }
  AttendRows(op, unit, unit.rows, begin, s, partial, w);
}

// The outputs of queries [queries] of a unit.
void CpuExecutor::FinishQueries(const AttentionOp& op, const AttentionUnit& unit, Range queries, const AttentionSums& sums,
                                const Worker& w) {
  const KvRule& rule = weights_.kv_rules[static_cast<size_t>(op.layer)].v;
  const float v_scale = ReadsElements(op) && cache_->formats().v->scaled_by_rule() ? rule.scale_of(unit.kv_head) : 1;
  for (int64_t query = queries.begin; query < queries.end; ++query) {
    const int64_t row = unit.rows.begin + query / unit.heads.size(), head = unit.heads.begin + query % unit.heads.size();
    const float* sink = op.sinks < 0 ? nullptr : weights_.vectors[static_cast<size_t>(op.sinks)].data() + head;
    attention_.finish(sums, query, cache_->layer(op.layer).v_stride(), sink, v_scale, op.v_dim,
                      Data(op.out, w) + row * Width(op.out) + head * op.v_dim);
  }
}

static void ClearSums(const AttentionSums& sums, int64_t queries, int64_t v_stride) {
  std::fill_n(sums.max, queries, -std::numeric_limits<float>::infinity());
  std::fill_n(sums.sum, queries, 0.0f);
  std::fill_n(sums.out, queries * v_stride, 0.0f);
}

void CpuExecutor::RunOp(const AttentionOp& op, int64_t count, Worker& w) {
  FindUnits(op, count, w);
  if (static_cast<int64_t>(w.units.size()) < team_->size()) return AttendSplit(op, w);
  const int64_t v_stride = cache_->layer(op.layer).v_stride();
  for (size_t i = 0; i < w.units.size(); ++i) {
    const AttentionUnit& unit = w.units[i];
    const bool mine =
        w.heads_of >= 0 ? MyHead(unit.kv_head, w) : i % static_cast<size_t>(team_->size()) == static_cast<size_t>(w.index);
    if (!mine) continue;
    const int64_t queries = unit.queries(), floats = SumsFloats(queries, v_stride);
    float* at = Scratch(w.sums, 2 * floats);
    const AttentionSums sums = SumsAt(at, queries, v_stride), partial = SumsAt(at + floats, queries, v_stride);
    ClearSums(sums, queries, v_stride);
    GatherQueries(op, unit, w);
    for (int64_t begin = unit.first_stretch(); begin < unit.seen.end; begin += kStretch) {
      AttendStretch(op, unit, begin, partial, w);
      attention_.fold(sums, partial, queries, v_stride);
    }
    FinishQueries(op, unit, {0, queries}, sums, w);
  }
}

// Fewer units than workers: stretches are divided, then queries. The sums are folded in the same order.
void CpuExecutor::AttendSplit(const AttentionOp& op, Worker& w) {
  const int64_t v_stride = cache_->layer(op.layer).v_stride();
  int64_t floats = 0;
  std::vector<int64_t> offsets;
  for (const AttentionUnit& unit : w.units) {
    offsets.push_back(floats);
    floats += SumsFloats(unit.queries(), v_stride) * CeilDiv(unit.seen.end - unit.first_stretch(), kStretch);
  }
  if (w.index == 0) Scratch(attention_partials_, floats);
  team_->Barrier();
  int64_t task = 0;
  for (size_t i = 0; i < w.units.size(); ++i) {
    const AttentionUnit& unit = w.units[i];
    float* at = reinterpret_cast<float*>(attention_partials_.data()) + offsets[i];
    bool gathered = false;
    for (int64_t begin = unit.first_stretch(); begin < unit.seen.end;
         begin += kStretch, at += SumsFloats(unit.queries(), v_stride)) {
      if (task++ % team_->size() != w.index) continue;
      if (!gathered) GatherQueries(op, unit, w);
      gathered = true;
      AttendStretch(op, unit, begin, SumsAt(at, unit.queries(), v_stride), w);
    }
  }
  team_->Barrier();
  for (size_t i = 0; i < w.units.size(); ++i) {
    const AttentionUnit& unit = w.units[i];
    const Range mine = SplitRange(unit.queries(), w.index, team_->size());
    if (mine.empty()) continue;
    float* mine_at = Scratch(w.sums, SumsFloats(unit.queries(), v_stride));
    const AttentionSums sums = SumsAt(mine_at, unit.queries(), v_stride);
    ClearSums(sums, unit.queries(), v_stride);
    float* at = reinterpret_cast<float*>(attention_partials_.data()) + offsets[i];
    for (int64_t begin = unit.first_stretch(); begin < unit.seen.end; begin += kStretch, at += SumsFloats(unit.queries(), v_stride))
      attention_.fold(SumsAt(mine_at, unit.queries(), v_stride, mine.begin), SumsAt(at, unit.queries(), v_stride, mine.begin),
                      mine.size(), v_stride);
    FinishQueries(op, unit, mine, sums, w);
  }
}

}  // namespace nibble
