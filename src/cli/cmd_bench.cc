// SPDX-License-Identifier: Apache-2.0
// nibble bench: prefill and decode speed, worded as llama-bench does, with the share of this machine's roofline.
#include <cstdio>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/terminal.h"
#include "eval/speed.h"

namespace nibble {
namespace {

struct BenchArguments {
  ModelOptions model;
  SpeedOptions speed;
  bool roofline = false, json = false;
};

void PrintRoofline(const Roofline& r) {
  std::printf(
      "%s, %s, %d threads: reads %.1f GB/s, multiplies and adds %.0f GFLOP/s (f32), %.0f Gop/s (4 by 8 bits), %.0f Gop/s (8 by 16 "
      "bits)\n",
      Cpu().name.c_str(), IsaName(Cpu().isa), r.threads, r.read_gb_s, r.fma_gflop_s, r.dot8_gop_s, r.dot16_gop_s);
}

void PrintBench(const Engine& engine, const BenchArguments& o, const SpeedResult& r) {
  const std::string method = engine.checkpoint().quantization().Describe();
  const double mib = static_cast<double>(engine.packed_bytes()) / (1 << 20),
               millions = static_cast<double>(engine.plan().parameters) / 1e6;
  std::printf("| model | size | params | threads | K/V | test | t/s | of roofline |\n|---|---:|---:|---:|---|---|---:|---:|\n");
  const auto row = [&](const char* test, const std::string& count, const Sample& s, const std::string& share) {
    std::printf("| %s | %.2f MiB | %.2f M | %d | %s | %s%s | %.2f +- %.2f | %s |\n", method.c_str(), mib, millions,
                engine.threads(), engine.kv_dtype().name().c_str(), test, count.c_str(), s.median, s.spread, share.c_str());
  };
  if (o.speed.prompt > 0)
    row("pp", std::to_string(o.speed.prompt), r.prefill_tok_s, fmt::format("{:.0f} % of f32 peak", 100 * r.prefill_share));
  if (o.speed.generate > 0)
    row("tg", o.speed.batch > 1 ? fmt::format("{} x {}", o.speed.generate, o.speed.batch) : std::to_string(o.speed.generate),
        r.decode_tok_s,
        r.fits_in_cache ? "none claimed: weights fit in cache" : fmt::format("{:.0f} % of bandwidth", 100 * r.decode_share));
  if (o.speed.prompt > 0)
    std::printf("attention: %.0f %% of the time of pp%lld, multiplying at %.0f %% of f32 peak\n", 100 * r.prefill_attention,
                static_cast<long long>(o.speed.prompt), 100 * r.prefill_attention_peak);
  if (o.speed.generate > 0)
    std::printf("attention: %.0f %% of the time of tg%lld at depth %lld, reading K/V at %.0f %% of bandwidth\n",
                100 * r.decode_attention, static_cast<long long>(o.speed.generate), static_cast<long long>(o.speed.depth),
                100 * r.decode_kv_bandwidth);
  PrintRoofline(r.roofline);
  std::printf("medians of %d rounds +- half the range; activations %s\n", o.speed.rounds, o.model.activations.c_str());
}

OrderedJson BenchJson(const Engine& engine, const BenchArguments& o, const SpeedResult& r) {
  const auto sample = [](const Sample& s) { return OrderedJson{{"median", s.median}, {"spread", s.spread}}; };
  OrderedJson json = {{"model", o.model.model},
                      {"method", engine.checkpoint().quantization().Describe()},
                      {"threads", engine.threads()},
                      {"rounds", o.speed.rounds},
                      {"cpu", Cpu().name},
                      {"isa", IsaName(Cpu().isa)},
                      {"packed_bytes", engine.packed_bytes()},
                      {"kv_cache_dtype", engine.kv_dtype().name()},
                      {"read_gb_s", r.roofline.read_gb_s},
                      {"fma_gflop_s", r.roofline.fma_gflop_s}};
  json["prefill"] = {{"tokens", o.speed.prompt},
                     {"tok_s", sample(r.prefill_tok_s)},
                     {"share_of_fma_peak", r.prefill_share},
                     {"attention_share_of_time", r.prefill_attention},
                     {"attention_share_of_fma_peak", r.prefill_attention_peak}};
  json["decode"] = {{"tokens", o.speed.generate},
                    {"depth", o.speed.depth},
                    {"batch", o.speed.batch},
                    {"tok_s", sample(r.decode_tok_s)},
                    {"attention_share_of_time", r.decode_attention},
                    {"kv_share_of_bandwidth", r.decode_kv_bandwidth},
                    {"fits_in_cache", r.fits_in_cache}};
  json["decode"]["share_of_bandwidth"] = r.fits_in_cache ? OrderedJson() : OrderedJson(r.decode_share);
  return json;
}

Status RunBench(BenchArguments o) {
  if (o.model.model.empty()) {
    if (!o.roofline) return Usage("give a MODEL, or --roofline for the machine alone");
    const Roofline r = MeasureRoofline(o.model.threads > 0 ? o.model.threads : Cpu().cores);
    if (o.json)
      std::printf("%s\n", OrderedJson{{"cpu", Cpu().name},
                                      {"isa", IsaName(Cpu().isa)},
                                      {"threads", r.threads},
                                      {"read_gb_s", r.read_gb_s},
                                      {"fma_gflop_s", r.fma_gflop_s},
                                      {"dot8_gop_s", r.dot8_gop_s},
                                      {"dot16_gop_s", r.dot16_gop_s}}
                              .dump()
                              .c_str());
    else
      PrintRoofline(r);
    return {};
  }
  o.model.context = ContextFor(o.speed, o.model.batch_rows);
  o.model.sequences = std::max<int64_t>(o.speed.batch, 2);
  o.model.share_prefixes = false;
  NIBBLE_TRY(const auto engine, OpenEngine(o.model));
  const auto bar = MakeProgressBar();
  NIBBLE_TRY(const auto results, MeasureSpeed({engine.get()}, o.speed, bar.get()));
  EndProgressLine();
  if (o.json)
    std::printf("%s\n", BenchJson(*engine, o, results[0]).dump().c_str());
  else
    PrintBench(*engine, o, results[0]);
  return {};
}

std::function<Status()> SetUpBench(CLI::App& app) {
  auto o = std::make_shared<BenchArguments>();
  app.add_option("model", o->model.model, "hub folder, .gguf file, or org/name in the hub cache");
  app.add_option("-p,--n-prompt", o->speed.prompt, "prompt tokens (0: no prefill test)")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("-n,--n-gen", o->speed.generate, "generated tokens (0: no decode test)")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("-d,--depth", o->speed.depth, "tokens before the generated ones")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("-b,--batch", o->speed.batch, "sequences that decode together, their tokens counted together")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  app.add_option("-r,--rounds", o->speed.rounds, "rounds")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_flag("--roofline", o->roofline, "without MODEL: measure this machine alone");
  app.add_flag("--json", o->json, "one JSON object on stdout");
  o->model.activations = "int16";  // as fast as it gets without a measurable cost: docs/activations.md
  AddRunOptions(app, o->model);
  return [o] { return RunBench(*o); };
}

}  // namespace

const Command* bench_command() {
  static const Command command = {"bench", "prefill and decode speed, as a share of this machine's roofline",
                                  "nibble bench models/tales-5m -p 256 -n 64 --depth 128", 50, SetUpBench};
  return &command;
}

}  // namespace nibble
