// SPDX-License-Identifier: Apache-2.0
// nibble convert: another container, as floats (or q8_0 in GGUF).
#include <cstdio>

#include <thread>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/terminal.h"
#include "quantizers/convert.h"

namespace nibble {
namespace {

struct ConvertArguments {
  ModelOptions model;
  std::string out, to, dtype;
  int threads = 0;
  bool force = false, json = false;
};

Status RunConvert(const ConvertArguments& o) {
  ConvertOptions options;
  options.target = o.to == "gguf" ? ConvertOptions::kGguf : ConvertOptions::kSafetensors;
  options.dtype = o.dtype;
  options.threads = o.threads > 0 ? o.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  options.force = o.force;
  NIBBLE_TRY(const auto source, OpenCheckpoint(o.model));
  const auto bar = MakeProgressBar();
  NIBBLE_TRY(const ConvertReport r, ConvertModel(*source, o.out, options, bar.get()));
  EndProgressLine();
  if (o.json) {
    const OrderedJson json = {{"source", o.model.model},
                              {"output", o.out},
                              {"to", o.to},
                              {"dtype", r.dtype},
                              {"tensors", r.tensors},
                              {"mean_relative_error", r.mean_relative_error},
                              {"tokenizer", r.tokenizer},
                              {"bytes_before", r.bytes_before},
                              {"bytes_after", r.bytes_after},
                              {"seconds", r.seconds}};
    std::printf("%s\n", json.dump().c_str());
    return {};
  }
  std::printf("%s: %lld tensors as %s%s   %.1f MB -> %.1f MB   checked   %.1f s\n", o.out.c_str(),
              static_cast<long long>(r.tensors), r.dtype.c_str(), r.tokenizer ? "" : ", without a tokenizer",
              static_cast<double>(r.bytes_before) / 1e6, static_cast<double>(r.bytes_after) / 1e6, r.seconds);
  return {};
}

std::function<Status()> SetUpConvert(CLI::App& app) {
  auto o = std::make_shared<ConvertArguments>();
  AddModelArgument(app, o->model);
  app.add_option("out", o->out, "folder (safetensors) or .gguf file to make")->required();
  app.add_option("--to", o->to, "safetensors or gguf")->required()->check(CLI::IsMember({"safetensors", "gguf"}));
  app.add_option("--dtype", o->dtype,
                 "f32, f16, bf16; gguf also q8_0 (default: the float type that config.json names; f16 where there is none)")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0"}));
  app.add_option("--threads", o->threads, "worker threads (default: all cores)")
      ->envname("NIBBLE_THREADS")
      ->check(CLI::Range(0, 1024));
  app.add_flag("--force", o->force, "replace the output if it is there");
  app.add_flag("--json", o->json, "one JSON object on stdout");
  return [o] { return RunConvert(*o); };
}

}  // namespace

const Command* convert_command() {
  static const Command command = {"convert", "write a model as a float hub folder or a GGUF file",
                                  "nibble convert MODEL.gguf MODEL-f16 --to safetensors", 55, SetUpConvert};
  return &command;
}

}  // namespace nibble
