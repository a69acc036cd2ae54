// SPDX-License-Identifier: Apache-2.0
// The kernels of attention.h, written once on F32x16; an ISA file includes its vec_*.h first.
//
// Register tiles are kTileQueries queries x NV vectors, of positions for the scores and of output elements for the values. Few
// queries read the cache's elements as they lie; many (a prompt) have the stretch decoded to f32 first, once for all tiles. The
// arithmetic is the same.
#pragma once

#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/unroll.h"
#include "kernels/cpu/vec_math.h"

namespace nibble {
namespace {

constexpr int kTileQueries = 6;                      // 6 x 4 accumulators and 4 loaded vectors fit 32 registers
constexpr int kTileVectors = F32x16::kWide ? 4 : 1;  // of registers as wide as the lanes; two halves fill 16 registers
constexpr int64_t kPanelQueries = 8 * kTileQueries;  // from here on decoding first pays

template <DType dtype>
constexpr int64_t kBytes = dtype == DType::kF32                                                    ? 4
                           : dtype == DType::kE4M3 || dtype == DType::kE5M2 || dtype == DType::kI8 ? 1
                                                                                                   : 2;

// e4m3: divided by kE4M3Factor, which Weigh makes up for.
template <DType dtype>
inline F32x16 LoadElements(const char* p) {
  if constexpr (dtype == DType::kF16) return F32x16::LoadF16(p);
  if constexpr (dtype == DType::kBF16) return F32x16::LoadBf16(p);
  if constexpr (dtype == DType::kE4M3) return F32x16::LoadE4M3Parts(p);
  if constexpr (dtype == DType::kE5M2) return F32x16::LoadE5M2(p);
  if constexpr (dtype == DType::kI8) return F32x16::LoadI8(p);
  return F32x16::Load(reinterpret_cast<const float*>(p));
}

// What will be read soon and is asked for meanwhile: `step` bytes with every vector that is read.
struct Ahead {
  const char* at;
  int64_t step;

  // Where a tile begins with a page's vector `begin`.
  Ahead From(int64_t begin) const { return {at + begin * step, step}; }
  // With so many vectors. Not where they are f32: those of a prompt are decoded already, and are multiplied a tenth faster without.
  template <DType dtype, int64_t vectors>
  void Ask() {
    if constexpr (dtype == DType::kF32) return;
    Unroll<CeilDiv(vectors * 16 * kBytes<dtype>, 64)>([&](auto line) { __builtin_prefetch(at + 64 * line); });
    at += vectors * step;
  }
};

constexpr int64_t kAheadBytes = 8192;  // of L1, which holds as much that is being read, and scores

// Where the tiles of one call read and write.
struct Stretch {
  const AttentionStretch* s;
  const void* const* k;
  const void* const* v;
  float* scores;                  // [queries][kStretch]
  int64_t chunk_pages;            // of values that are read at once
  Ahead ahead[2][kStretchPages];  // with each page of keys, of values

  Range pages() const { return {s->slots.begin / kPageTokens, (s->slots.end - 1) / kPageTokens + 1}; }
  // The first tile asks; the others for what is there already (of address 0, each would be looked up).
  Ahead AheadOf(bool values, int64_t page, int64_t query) const {
    return query == 0 ? ahead[values][page] : Ahead{reinterpret_cast<const char*>(scores), 0};
  }
  void SetAhead(int64_t element_bytes);
};

// Pages are read in this order: keys, values, the next keys. While one is multiplied another one is asked for, evenly: memory that
// waits for arithmetic is lost, and what is asked for long before leaves L1 again.
void Stretch::SetAhead(int64_t element_bytes) {
  struct Read {
    const void* page;
    int64_t bytes;
  };
  const auto page_bytes = [&](int64_t dim) { return kPageTokens * (dim * element_bytes + (s->row_scale ? 4 : 0)); };
  const int64_t k_bytes = page_bytes(s->k_dim), v_bytes = page_bytes(s->v_dim), first = pages().begin, count = pages().size();
  const auto read = [&](int64_t order) -> Read {
    if (order < count) return {k[first + order], k_bytes};
    if (order < 2 * count) return {v[first + order - count], v_bytes};
    return {order - 2 * count < kStretchPages ? s->next_k[order - 2 * count] : nullptr, k_bytes};
  };
  const int64_t fit = kAheadBytes / v_bytes;
  chunk_pages = s->queries >= kPanelQueries || fit > kStretchPages ? kStretchPages : fit > 1 ? fit : 1;
  for (int64_t order = 0; order < 2 * count; ++order) {
    const bool values = order >= count;
    const int64_t vectors = kPageTokens / 16 * (values ? s->v_dim : s->k_dim);
    const Read next = read(order + chunk_pages);
    ahead[values][first + order % count] =
        next.page ? Ahead{static_cast<const char*>(next.page), CeilDiv(next.bytes, vectors)} : AheadOf(values, 0, 1);
  }
}

// Scores of queries [query, query + M) at 16 * NV slots from `slot` on; one chain over the elements of k.
template <DType dtype, int M, int NV>
inline void ScoreTile(const Stretch& w, int64_t query, int64_t slot) {
  const AttentionStretch& s = *w.s;
  constexpr int64_t bytes = kBytes<dtype>;
  constexpr int pages = CeilDiv(16 * NV, kPageTokens);
  const char* keys[NV];  // 16 slots each; pages outside s.slots are not there: another's scores, which nobody reads
  for (int i = 0; i < NV; ++i) {
    const int64_t at = slot + 16 * i, first = s.slots.begin / kPageTokens, last = (s.slots.end - 1) / kPageTokens;
    const int64_t page = at / kPageTokens < first ? first : at / kPageTokens > last ? last : at / kPageTokens;
    keys[i] = static_cast<const char*>(w.k[page]) + at % kPageTokens * bytes;
  }
  Ahead ahead[pages];
  for (int i = 0; i < pages; ++i) {
    const int64_t page = slot / kPageTokens + i < w.pages().end ? slot / kPageTokens + i : w.pages().end - 1;
    ahead[i] = w.AheadOf(false, page, query).From(slot % kPageTokens / 16 * s.k_dim);
  }
  F32x16 sum[M * NV];
  Unroll<M * NV>([&](auto j) { sum[j] = F32x16::Zero(); });
  const float* q = s.q + query * s.k_dim;
  for (int64_t d = 0; d < s.k_dim; ++d) {
    Unroll<pages>([&](auto i) { ahead[i].template Ask<dtype, NV / pages>(); });
    F32x16 k[NV];
    Unroll<NV>([&](auto i) { k[i] = LoadElements<dtype>(keys[i] + d * kPageTokens * bytes); });
    Unroll<M>([&](auto m) {
      const F32x16 x = F32x16::Set(q[m * s.k_dim + d]);
      Unroll<NV>([&](auto i) { sum[m * NV + i] = F32x16::Fma(x, k[i], sum[m * NV + i]); });
    });
  }
  Unroll<M * NV>([&](auto j) { sum[j].Store(w.scores + (query + j / NV) * kStretch + slot + 16 * (j % NV)); });
}

// Slots [slots) are added to elements [16 * begin, 16 * (begin + NV)) of the outputs of M queries; one chain over all slots of the
// stretch.
template <DType dtype, int M, int NV>
inline void ValueTile(const Stretch& w, int64_t query, Range slots, int64_t begin, float* out) {
  const AttentionStretch& s = *w.s;
  constexpr int64_t bytes = kBytes<dtype>;
  const bool starts = slots.begin == s.slots.begin;
  F32x16 sum[M * NV];
  Unroll<M * NV>(
      [&](auto j) { sum[j] = starts ? F32x16::Zero() : F32x16::Load(out + (query + j / NV) * s.v_dim + 16 * (begin + j % NV)); });
  for (int64_t slot = slots.begin; slot < slots.end;) {
    const int64_t page = slot / kPageTokens, end = (page + 1) * kPageTokens < slots.end ? (page + 1) * kPageTokens : slots.end;
    const char* values = static_cast<const char*>(w.v[page]) + (slot % kPageTokens * s.v_dim + 16 * begin) * bytes;
    const float* p = w.scores + query * kStretch;
    Ahead ahead = w.AheadOf(true, page, query).From(begin * kPageTokens);
    for (; slot < end; ++slot, values += s.v_dim * bytes) {
      ahead.template Ask<dtype, NV>();
      F32x16 v[NV];
      Unroll<NV>([&](auto i) { v[i] = LoadElements<dtype>(values + 16 * i * bytes); });
      Unroll<M>([&](auto m) {
        const F32x16 x = F32x16::Set(p[m * kStretch + slot]);
        Unroll<NV>([&](auto i) { sum[m * NV + i] = F32x16::Fma(x, v[i], sum[m * NV + i]); });
      });
    }
  }
  Unroll<M * NV>([&](auto j) { sum[j].Store(out + (query + j / NV) * s.v_dim + 16 * (begin + j % NV)); });
}

template <DType dtype, int M>
void ScoreTiles(const Stretch& w, int64_t query) {
  constexpr int64_t step = 16 * kTileVectors;
  for (int64_t slot = w.s->slots.begin / step * step; slot < w.s->slots.end; slot += step)
    ScoreTile<dtype, M, kTileVectors>(w, query, slot);
}

// As many pages at once as stay in L1 while each tile reads its part of them.
template <DType dtype, int M>
void ValueTiles(const Stretch& w, int64_t query, float* out) {
  const int64_t vectors = w.s->v_dim / 16, end = w.s->slots.end, most = w.chunk_pages * kPageTokens;
  Range slots = w.s->slots;
  for (; slots.begin < end; slots.begin = slots.end) {
    slots.end = slots.begin / kPageTokens * kPageTokens + most < end ? slots.begin / kPageTokens * kPageTokens + most : end;
    int64_t i = 0;
    for (; i + kTileVectors <= vectors; i += kTileVectors) ValueTile<dtype, M, kTileVectors>(w, query, slots, i, out);
    for (; i < vectors; ++i) ValueTile<dtype, M, 1>(w, query, slots, i, out);
  }
}

template <DType dtype, int M>
void Tiles(const Stretch& w, int64_t query, float* out) {
  if (out)
    ValueTiles<dtype, M>(w, query, out);
  else
    ScoreTiles<dtype, M>(w, query);
}

// Scores where out is null, values otherwise, of all queries.
template <DType dtype>
void AllTiles(const Stretch& w, float* out) {
  for (int64_t query = 0; query < w.s->queries; query += kTileQueries) {
    switch (w.s->queries - query) {
      case 1: Tiles<dtype, 1>(w, query, out); break;
      case 2: Tiles<dtype, 2>(w, query, out); break;
      case 3: Tiles<dtype, 3>(w, query, out); break;
      case 4: Tiles<dtype, 4>(w, query, out); break;
      case 5: Tiles<dtype, 5>(w, query, out); break;
      default: Tiles<dtype, kTileQueries>(w, query, out); break;
    }
  }
}

void AllTilesOf(DType dtype, const Stretch& w, float* out) {
  switch (dtype) {
    case DType::kF16: return AllTiles<DType::kF16>(w, out);
    case DType::kBF16: return AllTiles<DType::kBF16>(w, out);
    case DType::kE4M3: return AllTiles<DType::kE4M3>(w, out);
    case DType::kE5M2: return AllTiles<DType::kE5M2>(w, out);
    case DType::kI8: return AllTiles<DType::kI8>(w, out);
    default: return AllTiles<DType::kF32>(w, out);
  }
}

template <DType dtype>
void DecodeElements(const void* in, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i += kLanes) LoadElements<dtype>(static_cast<const char*>(in) + i * kBytes<dtype>).Store(out + i);
}
void DecodePage(DType dtype, const void* in, int64_t count, float* out) {
  switch (dtype) {
    case DType::kF16: return DecodeElements<DType::kF16>(in, count, out);
    case DType::kBF16: return DecodeElements<DType::kBF16>(in, count, out);
    case DType::kE5M2: return DecodeElements<DType::kE5M2>(in, count, out);
    case DType::kI8: return DecodeElements<DType::kI8>(in, count, out);
    default: return DecodeElements<DType::kE4M3>(in, count, out);
  }
}

// x where lane i is one of positions [seen) from `slot` on, else `fill`.
inline F32x16 OutsideBecomes(F32x16 x, const Range& seen, int64_t slot, float fill) {
  if (slot >= seen.begin && slot + kLanes <= seen.end) return x;
  float all[kLanes];
  x.Store(all);
  for (int64_t i = 0; i < kLanes; ++i)
    if (slot + i < seen.begin || slot + i >= seen.end) all[i] = fill;
  return F32x16::Load(all);
}

// Of 16 slots, whose elements take a byte.
inline F32x16 RowScales(const void* const* pages, int64_t width, int64_t slot) {
  const auto* page = static_cast<const char*>(pages[slot / kPageTokens]);
  return F32x16::Load(reinterpret_cast<const float*>(page + kPageTokens * width) + slot % kPageTokens);
}

// Raw dot products of a query to exp(score - max); what it does not see becomes 0.
void Weigh(const AttentionStretch& s, int64_t query, float* scores, float* max_out, float* sum_out) {
  static constexpr float kLane[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Range seen = s.seen[query];
  const float factor = s.dtype == DType::kE4M3 ? F32x16::kE4M3Factor : 1.0f;
  const F32x16 scale = F32x16::Set(s.scale * factor), cap = F32x16::Set(s.softcap);
  const int64_t begin = seen.empty() ? s.slots.end : seen.begin / kLanes * kLanes, end = seen.empty() ? s.slots.end : seen.end;
  F32x16 top = F32x16::Set(-__builtin_inff());
  for (int64_t slot = begin; slot < end; slot += kLanes) {
    F32x16 x = F32x16::Load(scores + slot) * scale;
    if (s.row_scale) x = x * RowScales(s.k, s.k_dim, slot);
    if (s.softcap > 0) x = cap * Tanh(x / cap);
    if (s.slopes) {
      const F32x16 distance = F32x16::Load(kLane) + F32x16::Set(static_cast<float>(slot - s.last[query]));
      x = F32x16::Fma(F32x16::Set(s.slopes[query]), distance, x);
    }
    x.Store(scores + slot);
    top = F32x16::Max(OutsideBecomes(x, seen, slot, -__builtin_inff()), top);
  }
  const float max = top.HorizontalMax();
  F32x16 sum = F32x16::Zero();
  int64_t slot = s.slots.begin / kLanes * kLanes;
  for (; slot < begin; slot += kLanes) sum.Store(scores + slot);
  for (; slot < end; slot += kLanes) {
    const F32x16 e = OutsideBecomes(Exp(F32x16::Load(scores + slot) - F32x16::Set(max)), seen, slot, 0);
    const F32x16 weight = s.row_scale ? OutsideBecomes(e * RowScales(s.v, s.v_dim, slot), seen, slot, 0) : e;
    (weight * F32x16::Set(factor)).Store(scores + slot);
    sum = sum + e;
  }
  for (; slot < s.slots.end; slot += kLanes) F32x16::Zero().Store(scores + slot);
  *max_out = max;
  *sum_out = sum.Sum();
}

void AttendStretch(const AttentionStretch& s, const AttentionSums& partial) {
  Stretch w{.s = &s, .k = s.k, .v = s.v, .scores = s.scratch, .chunk_pages = 1, .ahead = {}};
  DType dtype = s.dtype;
  const void *k[kStretchPages] = {}, *v[kStretchPages] = {};
  if (dtype != DType::kF32 && s.queries >= kPanelQueries) {
    const int64_t k_page = s.k_dim * kPageTokens, v_page = s.v_dim * kPageTokens;
    float* panel = s.scratch + s.queries * kStretch;
    for (int64_t page = s.slots.begin / kPageTokens; page * kPageTokens < s.slots.end; ++page) {
      float *k_at = panel + page * k_page, *v_at = panel + kStretchPages * k_page + page * v_page;
      DecodePage(dtype, s.k[page], k_page, k_at);
      // Rows past the last slot were never written; they are not read either.
      const int64_t rows = s.slots.end - page * kPageTokens < kPageTokens ? s.slots.end - page * kPageTokens : kPageTokens;
      DecodePage(dtype, s.v[page], rows * s.v_dim, v_at);
      k[page] = k_at;
      v[page] = v_at;
    }
    w.k = k;
    w.v = v;
    dtype = DType::kF32;
  }
  w.SetAhead(DTypeBytes(dtype));
  AllTilesOf(dtype, w, nullptr);
  for (int64_t query = 0; query < s.queries; ++query)
    Weigh(s, query, w.scores + query * kStretch, partial.max + query, partial.sum + query);
  AllTilesOf(dtype, w, partial.out);
}

inline float ExpOne(float x) {
  float lanes[kLanes];
  Exp(F32x16::Set(x)).Store(lanes);
  return lanes[0];
}

void Fold(const AttentionSums& into, const AttentionSums& partial, int64_t queries, int64_t v_dim) {
  for (int64_t i = 0; i < queries; ++i) {
    if (partial.max[i] == -__builtin_inff()) continue;
    const float max = into.max[i] > partial.max[i] ? into.max[i] : partial.max[i];
    const float a = ExpOne(into.max[i] - max), b = ExpOne(partial.max[i] - max);
    into.max[i] = max;
    into.sum[i] = __builtin_fmaf(into.sum[i], a, partial.sum[i] * b);
    const F32x16 va = F32x16::Set(a), vb = F32x16::Set(b);
    float* out = into.out + i * v_dim;
    const float* more = partial.out + i * v_dim;
    for (int64_t d = 0; d < v_dim; d += kLanes) F32x16::Fma(F32x16::Load(out + d), va, F32x16::Load(more + d) * vb).Store(out + d);
  }
}

void Finish(const AttentionSums& sums, int64_t query, int64_t v_dim, const float* sink, float v_scale, int64_t width, float* out) {
  float total = sums.sum[query], factor = v_scale;
  if (sink) {
    const float max = sums.max[query] > *sink ? sums.max[query] : *sink, share = ExpOne(sums.max[query] - max);
    total = __builtin_fmaf(total, share, ExpOne(*sink - max));
    factor *= share;
  }
  const F32x16 scale = F32x16::Set(factor / total);
  const float* in = sums.out + query * v_dim;
  ForParts(width, [&](int64_t i, int64_t count) { StorePart(F32x16::Load(in + i) * scale, out + i, count); });
}

const AttentionKernels kKernels = {AttendStretch, Fold, Finish};

}  // namespace
}  // namespace nibble
