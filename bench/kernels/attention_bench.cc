// SPDX-License-Identifier: Apache-2.0
// Attention alone: how fast a token being decoded reads the K/V cache, and how fast the queries of a prompt are multiplied.
//
//   attention_bench [--dtypes bf16,i8,e4m3] [--depth 4096] [--group 4] [--dim 64] [--rows 1,32] [--kv-heads 8] [--layers 0]
//   [--threads 2]
//
// A cache of enough layers that none of it stays in the last-level cache, laid out and divided among workers as the engine does
// (graph/cpu_attention.cc). Bandwidth and peak are measured before each line; times are the best of some repetitions.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <random>

#include "eval/roofline.h"
#include "kernels/cpu/attention/attention.h"
#include "best_time.h"
#include "base/thread_team.h"
#include "tensors/scalar.h"
#include "tensors/tensor_view.h"

namespace nibble {
namespace {

struct Options {
  std::vector<std::string> dtypes = {"bf16", "f16", "i8", "e4m3"};
  std::vector<int64_t> rows = {1, 32};  // 32 rows of 4 queries are a unit of the engine (graph/cpu_attention.cc)
  int64_t depth = 4096, group = 4, dim = 64, kv_heads = 8, layers = 0;
  int threads = 2;
};

struct Cache {
  DType dtype;
  int64_t pages, page_bytes, layers;
  Buffer k, v;
  const std::byte* Page(const Buffer& of, int64_t layer, int64_t page, int64_t head, int64_t heads) const {
    return of.data() + ((layer * pages + page) * heads + head) * page_bytes;
  }
};

Cache MakeCache(const Options& o, DType dtype) {
  Cache c{.dtype = dtype, .pages = CeilDiv(o.depth, kPageTokens), .page_bytes = 0, .layers = 0, .k = {}, .v = {}};
  const bool row_scale = dtype == DType::kI8;
  c.page_bytes = kPageTokens * (o.dim * DTypeBytes(dtype) + (row_scale ? 4 : 0));
  const int64_t layer_bytes = c.pages * o.kv_heads * c.page_bytes;
  c.layers = o.layers > 0 ? o.layers : std::max<int64_t>(1, 4 * static_cast<int64_t>(Cpu().l3_bytes) / layer_bytes);
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  std::vector<std::byte> page(static_cast<size_t>(c.page_bytes));
  for (int64_t i = 0; i < kPageTokens * o.dim; ++i) {
    if (dtype == DType::kE4M3 || dtype == DType::kE5M2)
      page[static_cast<size_t>(i)] = static_cast<std::byte>(EncodeSmallFloat(dtype, normal(rng)));
    else
      StoreScalar(dtype, page.data(), i, dtype == DType::kI8 ? 40 * normal(rng) : normal(rng));
  }
  for (int64_t i = 0; row_scale && i < kPageTokens; ++i) StoreScalar(DType::kF32, page.data() + kPageTokens * o.dim, i, 1.0f / 40);
  for (Buffer* buffer : {&c.k, &c.v}) {
    *buffer = Buffer(c.layers * layer_bytes);
    for (int64_t at = 0; at < c.layers * layer_bytes; at += c.page_bytes) std::copy(page.begin(), page.end(), buffer->data() + at);
  }
  return c;
}

struct WorkerBuffers {
  Buffer scratch, sums;
};

// Positions [0, seen) of one layer and head.
void Attend(const Options& o, const Cache& c, int64_t layer, int64_t head, int64_t queries, const float* q, WorkerBuffers* w) {
  static const AttentionKernels& kernels = AttentionFor(Cpu().isa);
  auto* sums = reinterpret_cast<float*>(w->sums.data());
  const auto at = [&](float* p) { return AttentionSums{p, p + queries, p + 2 * queries}; };
  const AttentionSums total = at(sums), partial = at(sums + queries * (o.dim + 2));
  std::fill_n(sums, queries * (o.dim + 2), 0.0f);
  std::fill_n(total.max, queries, -INFINITY);
  std::vector<Range> seen(static_cast<size_t>(queries));
  for (int64_t begin = 0; begin < o.depth; begin += kStretch) {
    AttentionStretch s;
    s.queries = queries;
    s.q = q;
    s.slots = {0, std::min(kStretch, o.depth - begin)};
    std::fill(seen.begin(), seen.end(), s.slots);
    s.seen = seen.data();
    s.k_dim = s.v_dim = o.dim;
    s.dtype = c.dtype;
    s.row_scale = c.dtype == DType::kI8;
    s.scale = 0.1f;
    s.scratch = reinterpret_cast<float*>(w->scratch.data());
    for (int64_t slot = 0; slot < s.slots.end; slot += kPageTokens) {
      const int64_t page = (begin + slot) / kPageTokens, next = page + kStretchPages;
      s.k[slot / kPageTokens] = c.Page(c.k, layer, page, head, o.kv_heads);
      s.v[slot / kPageTokens] = c.Page(c.v, layer, page, head, o.kv_heads);
      if (next < c.pages) s.next_k[slot / kPageTokens] = c.Page(c.k, layer, next, head, o.kv_heads);
    }
    kernels.stretch(s, partial);
    kernels.fold(total, partial, queries, o.dim);
  }
}

void Line(const Options& o, const std::string& name, DType dtype, ThreadTeam& team) {
  const Cache cache = MakeCache(o, dtype);
  const int64_t most = *std::max_element(o.rows.begin(), o.rows.end()) * o.group;
  std::vector<WorkerBuffers> buffers;
  for (int i = 0; i < o.threads; ++i)
    buffers.push_back({Buffer(4 * AttentionStretch::ScratchFloats(most, o.dim, o.dim)), Buffer(8 * most * (o.dim + 2))});
  std::vector<float> q(static_cast<size_t>(most * o.dim));
  std::mt19937 rng(2);
  std::normal_distribution<float> normal;
  for (float& x : q) x = normal(rng);
  const Roofline roofline = MeasureRoofline(o.threads);
  std::printf("%-5s", name.c_str());
  for (const int64_t rows : o.rows) {
    const double time = BestTime([&] {
      team.Run([&](int worker) {
        for (int64_t layer = 0; layer < cache.layers; ++layer)
          for (int64_t head = worker; head < o.kv_heads; head += o.threads)
            Attend(o, cache, layer, head, rows * o.group, q.data(), &buffers[static_cast<size_t>(worker)]);
      });
    });
    const double bytes = 2.0 * static_cast<double>(cache.layers * cache.pages * o.kv_heads * cache.page_bytes);
    const double flop = 4.0 * static_cast<double>(cache.layers * o.depth * o.kv_heads * o.dim * o.group * rows);
    std::printf("  rows=%lld %5.1f GB/s %3.0f%% %4.0f GFLOP/s %3.0f%%", static_cast<long long>(rows), bytes / time / 1e9,
                bytes / time / 1e7 / roofline.read_gb_s, flop / time / 1e9, flop / time / 1e7 / roofline.fma_gflop_s);
    std::fflush(stdout);
  }
  std::printf("  (%.1f GB/s, f32 %.0f)\n", roofline.read_gb_s, roofline.fma_gflop_s);
}

}  // namespace
}  // namespace nibble

int main(int argc, char** argv) {
  using namespace nibble;
  Options o;
  CLI::App app("attention alone, beside this machine's bandwidth and f32 peak");
  app.add_option("--dtypes", o.dtypes)->delimiter(',');
  app.add_option("--rows", o.rows, "of x, each with --group queries a head")->delimiter(',');
  app.add_option("--depth", o.depth);
  app.add_option("--group", o.group, "query heads of a K/V head");
  app.add_option("--dim", o.dim, "of a head, a multiple of 16");
  app.add_option("--kv-heads", o.kv_heads);
  app.add_option("--layers", o.layers, "0: as many as fill the last-level cache eight times");
  app.add_option("--threads", o.threads);
  CLI11_PARSE(app, argc, argv);
  ThreadTeam team(o.threads);
  std::printf("%s, %s\n", Cpu().name.c_str(), IsaName(Cpu().isa));
  constexpr struct {
    const char* name;
    DType dtype;
  } kDTypes[] = {{"f32", DType::kF32}, {"bf16", DType::kBF16}, {"f16", DType::kF16},
                 {"i8", DType::kI8},   {"e4m3", DType::kE4M3}, {"e5m2", DType::kE5M2}};
  for (const std::string& name : o.dtypes) {
    const auto* found = std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](const auto& d) { return name == d.name; });
    if (found == std::end(kDTypes)) {
      std::fprintf(stderr, "--dtypes: %s is none of f32, bf16, f16, i8, e4m3, e5m2\n", name.c_str());
      return 2;
    }
    Line(o, name, found->dtype, team);
  }
}
