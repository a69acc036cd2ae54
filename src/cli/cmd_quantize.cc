// SPDX-License-Identifier: Apache-2.0
// nibble quantize: make a quantized hub folder.
#include <cstdio>

#include <thread>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/terminal.h"
#include "quantizers/pipeline.h"

namespace nibble {
namespace {

struct QuantizeArguments {
  ModelOptions model;
  std::string out, scheme, ragged = "error";
  std::vector<std::string> ignore;
  int64_t group_size = 0;
  int threads = 0;
  bool no_scale_search = false, force = false, json = false, verbose = false;
};

void PrintQuantize(const QuantizeReport& r, const QuantizeArguments& o, const Scheme& scheme) {
  if (o.json) {
    OrderedJson json = {{"source", o.model.model},
                        {"output", o.out},
                        {"scheme", scheme.name},
                        {"weights", DescribeScheme(scheme)},
                        {"modules", r.modules.size()},
                        {"left_alone", r.left_alone},
                        {"mean_relative_error", r.mean_relative_error},
                        {"bits_per_weight", r.bits_per_weight},
                        {"bytes_before", r.bytes_before},
                        {"bytes_after", r.bytes_after},
                        {"seconds", r.seconds},
                        {"details", OrderedJson::array()}};
    for (const QuantizedModule& m : r.modules)
      json["details"].push_back(
          {{"name", m.name}, {"shape", {m.n, m.k}}, {"stored", m.stored}, {"relative_error", m.relative_error}});
    std::printf("%s\n", json.dump().c_str());
    return;
  }
  if (o.verbose)
    for (const QuantizedModule& m : r.modules)
      std::printf("%-60s %7lld x %-7lld %-24s error %.4f\n", m.name.c_str(), static_cast<long long>(m.n),
                  static_cast<long long>(m.k), m.stored.c_str(), m.relative_error);
  const double mb = 1e6;
  std::printf("%s: %zu modules as %s (%s)\n", o.out.c_str(), r.modules.size(), scheme.name.c_str(), DescribeScheme(scheme).c_str());
  std::printf("mean relative error %.4f   %.3f bits per weight   %.1f MB -> %.1f MB   checked   %.1f s\n", r.mean_relative_error,
              r.bits_per_weight, static_cast<double>(r.bytes_before) / mb, static_cast<double>(r.bytes_after) / mb, r.seconds);
}

Status RunQuantize(const QuantizeArguments& o) {
  QuantizeOptions options;
  NIBBLE_TRY(options.scheme, ParseScheme(o.scheme));
  if (o.group_size != 0) NIBBLE_RETURN_IF_ERROR(SetGroupSize(o.group_size, &options.scheme));
  options.scale_search = !o.no_scale_search;
  options.ignore = o.ignore;
  options.ragged = o.ragged == "channel" ? Ragged::kChannel : o.ragged == "ignore" ? Ragged::kIgnore : Ragged::kError;
  options.threads = o.threads > 0 ? o.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  options.force = o.force;
  options.source_name = o.model.model;
  NIBBLE_TRY(const auto source, OpenCheckpoint(o.model));
  const auto bar = MakeProgressBar();
  NIBBLE_TRY(const QuantizeReport report, QuantizeModel(*source, o.out, options, bar.get()));
  EndProgressLine();
  PrintQuantize(report, o, options.scheme);
  return {};
}

std::function<Status()> SetUpQuantize(CLI::App& app) {
  auto o = std::make_shared<QuantizeArguments>();
  AddModelArgument(app, o->model);
  app.add_option("out", o->out, "folder to make")->required();
  app.add_option("--scheme", o->scheme, "one of " + SchemeNames())->required();
  app.add_option("--group-size", o->group_size, "columns that share a scale, integer schemes (default 128; -1: the whole row)");
  app.add_option("--ignore", o->ignore,
                 "expression over module names, matched from their beginning, of modules to leave alone; lm_head, embeddings and "
                 "routers always are");
  app.add_option("--ragged", o->ragged,
                 "modules whose rows the group size does not divide: error, channel (a scale a row) or ignore")
      ->check(CLI::IsMember({"error", "channel", "ignore"}))
      ->capture_default_str();
  app.add_flag("--no-scale-search", o->no_scale_search, "scales by the largest weight only");
  app.add_option("--threads", o->threads, "worker threads (default: all cores); the result does not depend on it")
      ->envname("NIBBLE_THREADS")
      ->check(CLI::Range(0, 1024));
  app.add_flag("--force", o->force, "replace the output folder if it is a model");
  app.add_flag("--verbose,-v", o->verbose, "one line for each module");
  app.add_flag("--json", o->json, "one JSON object on stdout");
  return [o] { return RunQuantize(*o); };
}

}  // namespace

const Command* quantize_command() {
  static const Command command = {"quantize", "make a quantized model (compressed-tensors hub folder)",
                                  "nibble quantize MODEL MODEL-W4A16 --scheme W4A16", 50, SetUpQuantize};
  return &command;
}

}  // namespace nibble
