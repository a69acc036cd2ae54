// SPDX-License-Identifier: Apache-2.0
#include "cli/model_options.h"

#include <filesystem>

#include "base/log.h"
#include "cli/terminal.h"
#include "engine/decode_mode.h"
#include "tokenizers/gguf_reader.h"

namespace nibble {
namespace {

// The options that change what the checkpoint gives.
Result<std::unique_ptr<Checkpoint>> WithOptions(std::unique_ptr<Checkpoint> checkpoint, const ModelOptions& options) {
  if (!options.adapter.empty()) NIBBLE_RETURN_IF_ERROR(checkpoint->AttachAdapter(options.adapter));
  if (options.quantization.empty()) return checkpoint;
  NIBBLE_RETURN_IF_ERROR(
      checkpoint->QuantizeWhileLoading(options.quantization, options.threads > 0 ? options.threads : Cpu().cores));
  return checkpoint;
}

}  // namespace

void AddModelArgument(CLI::App& app, ModelOptions& options) {
  app.add_option("model", options.model, "hub folder, .gguf file, or org/name in the hub cache")->required();
}

void AddKvOptions(CLI::App& app, ModelOptions& options) {
  std::string names = "auto";
  for (const std::string_view name : KvFormatNames()) names.append(" ").append(name);
  app.add_option("--kv-cache-dtype", options.kv_cache_dtype, names)->capture_default_str();
  app.add_option("--kv-cache-dtype-k", options.kv_cache_dtype_k, "of keys alone");
  app.add_option("--kv-cache-dtype-v", options.kv_cache_dtype_v, "of values alone");
}

Result<std::optional<KvFormats>> KvFormatsOf(const ModelOptions& o) {
  std::optional<KvFormats> formats;
  if (o.kv_cache_dtype != "auto") {
    NIBBLE_TRY(formats, ParseKvFormats(o.kv_cache_dtype));
  }
  if (o.kv_cache_dtype_k.empty() && o.kv_cache_dtype_v.empty()) return formats;
  if (!formats) formats = KvFormats(o.kv_auto);
  if (!o.kv_cache_dtype_k.empty()) {
    NIBBLE_TRY(const KvFormats k, ParseKvFormats(o.kv_cache_dtype_k));
    formats->k = k.k;
  }
  if (!o.kv_cache_dtype_v.empty()) {
    NIBBLE_TRY(const KvFormats v, ParseKvFormats(o.kv_cache_dtype_v));
    formats->v = v.v;
  }
  return formats;
}

void AddRunOptions(CLI::App& app, ModelOptions& options) {
  app.add_option("--threads", options.threads, "worker threads (default: all cores)")
      ->envname("NIBBLE_THREADS")
      ->check(CLI::Range(0, 1024));
  app.add_option("--tp", options.tp, "tensor-parallel ranks inside this process")->check(CLI::Range(1, 64));
  app.add_option(
         "--activations", options.activations,
         "rounds activations where the method demands nothing: f32 (not), int16, int8, auto: the narrowest whose error is at most "
         "a tenth of the weight format's own")
      ->check(CLI::IsMember({"f32", "int16", "int8", "auto"}))
      ->capture_default_str();
  AddKvOptions(app, options);
  app.add_option("--quantization", options.quantization,
                 "quantize a float model while loading: fp8, int8, int4, nf4, mxfp4, q4_k ...");
  app.add_option("--adapter", options.adapter, "folder of a LoRA adapter (PEFT's form) to run beside the model's weights");
  app.add_flag("--ignore-activation-scheme", options.ignore_activation_scheme,
               "compute the checkpoint's weights with float activations");
  app.add_flag("--batch-invariant", options.batch_invariant,
               "results bit for bit independent of the batch (every kernel of this build is)");
  app.add_option("--architecture-as", options.architecture_as, "treat the model as this model_type");
  app.add_option("--pack-cache", options.pack_cache, "folder that keeps packed weights between starts")
      ->envname("NIBBLE_PACK_CACHE");
  app.add_flag("--strict", options.strict, "unknown keys in quantization configs are errors");
  app.add_option("--decode-mode", options.decode_mode, "trellis-coded weights: lut, 1mad, 3inst, mul1 (default: the checkpoint's)");
  app.add_flag("--decode-mode-force", options.decode_mode_force, "also a --decode-mode that gives other values");
  app.add_flag("--reference", options.reference, "run on the reference kernel (slow; checks the others)");
}

Result<std::unique_ptr<Checkpoint>> OpenCheckpoint(const ModelOptions& options) {
  SetStrictConfigs(options.strict);
  NIBBLE_TRY(const ModelLocation location, ResolveModel(options.model));
  NIBBLE_TRY(auto checkpoint, Checkpoint::Open(location.path, location.kind == ModelLocation::kGguf ? CheckpointKind::kGguf
                                                                                                    : CheckpointKind::kHubFolder));
  return WithOptions(std::move(checkpoint), options);
}

Result<std::unique_ptr<Checkpoint>> OpenCheckpointOrConfig(const ModelOptions& options) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  std::string config = options.model.ends_with(".json") ? options.model : "";
  if (fs::exists(options.model + "/config.json", ignored)) {
    bool weights = false;
    for (const fs::directory_entry& entry : fs::directory_iterator(options.model, ignored)) {
      const std::string name = entry.path().filename().string();
      for (const char* end : {".safetensors", ".gguf", ".bin", ".pt", ".pth"}) weights |= name.ends_with(end);
    }
    if (!weights) config = options.model + "/config.json";
  }
  if (config.empty()) return OpenCheckpoint(options);
  SetStrictConfigs(options.strict);
  NIBBLE_TRY(auto checkpoint, Checkpoint::OpenConfigOnly(config));
  return WithOptions(std::move(checkpoint), options);
}

LoadOptions MakeLoadOptions(const ModelOptions& o) {
  LoadOptions load;
  for (const ActivationPolicy policy :
       {ActivationPolicy::kF32, ActivationPolicy::kInt8, ActivationPolicy::kInt16, ActivationPolicy::kAuto})
    if (o.activations == ActivationPolicyName(policy)) load.activations = policy;
  load.ignore_activation_scheme = o.ignore_activation_scheme;
  load.ranks = o.tp;
  load.architecture_as = o.architecture_as;
  load.pack_cache_dir = o.pack_cache;
  load.reference = o.reference;
  load.batch_scales = o.batch_scales;
  return load;
}

Result<std::unique_ptr<Engine>> OpenEngine(const ModelOptions& o) {
  NIBBLE_TRY(auto checkpoint, OpenCheckpoint(o));
  EngineOptions options;
  options.load = MakeLoadOptions(o);
  options.threads = o.threads;
  NIBBLE_TRY(options.kv_dtype, KvFormatsOf(o));
  options.kv_auto = o.kv_auto;
  if (o.context < 0) return Usage("--context is {}, wanted 1 or more, or 0 for the model's", o.context);
  options.context = o.context;
  options.max_sequences = o.sequences;
  options.batch_rows = o.batch_rows;
  options.logits_rows = o.logits_rows;
  options.share_prefixes = o.share_prefixes;
  const auto bar = MakeProgressBar();
  NIBBLE_TRY(auto engine, Engine::Open(std::move(checkpoint), options, bar.get()));
  if (!engine->note().empty()) Info("{}", engine->note());
  if (!o.decode_mode.empty()) NIBBLE_RETURN_IF_ERROR(SetDecodeMode(*engine, o.decode_mode, o.decode_mode_force));
  return engine;
}

Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& model) {
  NIBBLE_TRY(const ModelLocation location, ResolveModel(model));
  if (location.kind == ModelLocation::kGguf) return OpenGgufTokenizer(location.path);
  return Tokenizer::Open(location.path);
}

}  // namespace nibble
