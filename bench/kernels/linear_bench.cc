// SPDX-License-Identifier: Apache-2.0
// Kernels alone, as a linear layer of any ggml format or of what the hub's methods store (nf4, fp8, int4) chooses them: how fast it
// reads its weights (m = 1) and multiplies (m rows).
//
//   kernels_bench [--formats q4_0,q8_0,f16] [--m 1,2,4,8,64,512] [--threads 2] [--activations f32,int16,int8] [--n 32768]
//   [--k 4096]
//
// Codes are uniform random bits with small finite scales. Bandwidth and peaks are measured before each line, so that each stands
// beside its own; all are the best of some repetitions. No share of bandwidth is claimed for weights of less than twice the
// last-level cache, which keeps a part of them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>

#include "best_time.h"
#include "base/check.h"
#include "eval/roofline.h"
#include "kernels/linear.h"
#include "kernels/random_weights.h"
#include "kernels/x_codes.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

// Random bits. Of 64 rows one is drawn and repeated.
std::shared_ptr<const StoredWeight> RandomWeight(FormatId format, DType dtype, int64_t n, int64_t k) {
  auto weight = std::make_shared<StoredWeight>();
  std::mt19937_64 rng(1);
  weight->format = format;
  weight->n = n;
  weight->k = k;
  if (dtype != DType::kNone) {
    auto bytes = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(n * k * DTypeBytes(dtype)));
    std::vector<std::byte> values(1024 * static_cast<size_t>(DTypeBytes(dtype)));
    std::normal_distribution<float> normal(0, 0.02f);
    for (int64_t i = 0; i < 1024; ++i) StoreScalar(dtype, values.data(), i, normal(rng));
    for (size_t at = 0; at < bytes->size(); at += values.size())
      std::memcpy(bytes->data() + at, values.data(), std::min(values.size(), bytes->size() - at));
    *weight = MakeDense(TensorView(bytes->data(), dtype, {n, k}), {}, bytes);
    return weight;
  }
  const int64_t row_bytes = format->row_bytes(k);
  auto bytes = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(n * row_bytes));
  std::vector<uint8_t> row(static_cast<size_t>(row_bytes));
  for (int64_t r = 0; r < n; ++r) {
    if (r % 64 == 0) DrawBlockedRow(format, k, &rng, row.data());
    std::memcpy(bytes->data() + r * row_bytes, row.data(), row.size());
  }
  weight->body = Blocked{TensorView(bytes->data(), DType::kU8, {n, row_bytes})};
  weight->keep.push_back(bytes);
  return weight;
}

// What methods store: codes and scales apart.
constexpr struct {
  const char* name;
  int bits;
  ValueRule rule;
  DType float_type, scale;
  int64_t group;
  bool zero;
} kCoded[] = {{"nf4", 4, ValueRule::kTable, DType::kNone, DType::kF32, 64, false},
              {"fp8", 8, ValueRule::kFloat, DType::kE4M3, DType::kF32, 0, false},
              {"int4", 4, ValueRule::kIntMinusZero, DType::kNone, DType::kF16, 128, true}};

std::shared_ptr<const StoredWeight> RandomCoded(const std::string& name, int64_t n, int64_t k) {
  for (const auto& c : kCoded) {
    if (name != c.name) continue;
    const auto owned = std::make_shared<Owned>();
    std::mt19937 rng(1);
    auto weight = std::make_shared<StoredWeight>(MakeCoded({.name = name,
                                                            .bits = c.bits,
                                                            .rule = c.rule,
                                                            .float_type = c.float_type,
                                                            .scale = c.scale,
                                                            .group = c.group,
                                                            .zero = c.zero},
                                                           n, k, owned.get(), &rng));
    weight->keep.push_back(owned);
    return weight;
  }
  return nullptr;
}

ActivationPolicy PolicyOf(const std::string& name) {
  for (const ActivationPolicy policy : {ActivationPolicy::kInt8, ActivationPolicy::kInt16, ActivationPolicy::kAuto})
    if (name == ActivationPolicyName(policy)) return policy;
  return ActivationPolicy::kF32;
}

struct Options {
  std::vector<std::string> formats = {"f16", "q8_0", "q6_k", "q5_k", "q4_0", "q4_k", "iq4_xs", "mxfp4", "q3_k", "q2_k", "iq2_xxs"};
  std::vector<std::string> activations = {"f32", "int16", "int8"};
  std::vector<int64_t> m = {1, 2, 4, 8, 64, 512};
  int threads = 2;
  int64_t n = 32768, k = 4096;
};

void Line(const Options& o, const std::string& name, const std::shared_ptr<const StoredWeight>& weight,
          const std::string& activations, ThreadTeam& team) {
  const LinearProblem problem{.parts = {{.weight = weight}}, .k = o.k, .policy = PolicyOf(activations)};
  const auto packed = PrepareLinear(problem, {.isa = Cpu().isa}, team);
  NIBBLE_CHECK(packed.has_value(), "{}", packed.error().ToString());
  const PackedWeight::Input& input = packed->inputs[0];
  const int64_t top = *std::max_element(o.m.begin(), o.m.end());
  std::vector<float> x(static_cast<size_t>(top * o.k)), y(static_cast<size_t>(top * o.n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  std::vector<std::byte> codes(x.size() * 4), work;
  std::vector<Buffer> scratch;
  for (int i = 0; i < o.threads; ++i) scratch.emplace_back(kLinearScratchBytes);
  const Roofline roofline = MeasureRoofline(o.threads);
  std::printf("%-8s %-6s %-24s", name.c_str(), activations.c_str(), packed->segments[0].by_m[0]->name);
  for (const int64_t m : o.m) {
    LinearArgs args{x.data(), o.k, y.data(), o.n, m};
    if (input.form != XForm::kF32) {
      for (int64_t row = 0; row < m; ++row)
        WriteXCodes(input.form, input.act, x.data() + row * o.k, o.k, row, m, codes.data(), &work);
      args.x = reinterpret_cast<const float*>(codes.data());
    }
    const double time = BestTime([&] {
      team.Run([&](int worker) {
        RunLinear(*packed, {&args, 1}, worker, team.size(), scratch[static_cast<size_t>(worker)].data());
      });
    });
    const double gb_s = static_cast<double>(StoredBytes(*weight)) / time / 1e9;
    const double gop_s = 2.0 * static_cast<double>(m * o.n * o.k) / time / 1e9;
    if (m == 1 && StoredBytes(*weight) < 2 * Cpu().l3_bytes)
      std::printf("  m=1 %5.1f GB/s (cache)", gb_s);
    else if (m == 1)
      std::printf("  m=1 %5.1f GB/s %3.0f%%", gb_s, 100 * gb_s / roofline.read_gb_s);
    else
      std::printf("  m=%lld %4.0f Gop/s x%.2f", static_cast<long long>(m), gop_s, gop_s / roofline.fma_gflop_s);
    std::fflush(stdout);
  }
  std::printf("  (%.1f GB/s, f32 %.0f, i8 %.0f, i16 %.0f)\n", roofline.read_gb_s, roofline.fma_gflop_s, roofline.dot8_gop_s,
              roofline.dot16_gop_s);
}

}  // namespace
}  // namespace nibble

int main(int argc, char** argv) {
  using namespace nibble;
  Options o;
  CLI::App app("kernels alone, beside this machine's bandwidth and peaks; x: times the f32 peak");
  app.add_option("--formats", o.formats)->delimiter(',');
  app.add_option("--activations", o.activations)->delimiter(',');
  app.add_option("--m", o.m)->delimiter(',');
  app.add_option("--threads", o.threads);
  app.add_option("--n", o.n);
  app.add_option("--k", o.k);
  CLI11_PARSE(app, argc, argv);
  ThreadTeam team(o.threads);
  std::printf("%s, %s\n", Cpu().name.c_str(), IsaName(Cpu().isa));
  for (const std::string& name : o.formats) {
    const DType dtype = name == "f16" ? DType::kF16 : name == "bf16" ? DType::kBF16 : name == "f32" ? DType::kF32 : DType::kNone;
    const FormatId format = FindFormat(dtype != DType::kNone ? "dense" : name);
    if (const auto coded = RandomCoded(name, o.n, o.k)) {
      for (const std::string& activations : o.activations) Line(o, name, coded, activations, team);
      continue;
    }
    if (!format || (dtype == DType::kNone && !format->is_blocked())) {
      std::fprintf(stderr, "--formats: %s is neither f32, f16, bf16, nf4, fp8, int4 nor a ggml block type\n", name.c_str());
      return 2;
    }
    const auto weight = RandomWeight(format, dtype, o.n, o.k);
    for (const std::string& activations : o.activations)
      if (dtype == DType::kNone || activations == "f32") Line(o, name, weight, activations, team);
  }
}
