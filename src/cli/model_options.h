// SPDX-License-Identifier: Apache-2.0
// The options that every command which runs a model shares, and opening what they name.
#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <string>

#include "engine/engine.h"
#include "io/hub.h"
#include "tokenizers/tokenizer.h"

namespace nibble {

struct ModelOptions {
  std::string model;
  std::string activations = "f32", kv_cache_dtype = "auto", kv_cache_dtype_k, kv_cache_dtype_v;
  std::string architecture_as, pack_cache, quantization, adapter, decode_mode;
  bool ignore_activation_scheme = false, batch_invariant = false, strict = false, reference = false, batch_scales = false,
       decode_mode_force = false;
  int threads = 0, tp = 1;
  int64_t context = 0;
  bool share_prefixes = true;    // benchmarks compute every prompt
  DType kv_auto = DType::kBF16;  // what "auto" means without a scheme of the checkpoint's own
  int64_t sequences = 1, batch_rows = kBatchRows, logits_rows = 64;
};

// The positional MODEL.
void AddModelArgument(CLI::App& app, ModelOptions& options);
// --threads, --tp, --activations, --kv-cache-dtype, ...
void AddRunOptions(CLI::App& app, ModelOptions& options);

// Resolves and opens the checkpoint; loads nothing.
Result<std::unique_ptr<Checkpoint>> OpenCheckpoint(const ModelOptions& options);
// The same, or config.json alone: `model` is a .json file, or a folder with config.json and no weights. For shapes and plans.
Result<std::unique_ptr<Checkpoint>> OpenCheckpointOrConfig(const ModelOptions& options);
// A whole engine. Notes (context cut, cache dtype) go to the log.
Result<std::unique_ptr<Engine>> OpenEngine(const ModelOptions& options);
Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& model);

// --kv-cache-dtype and its two halves; unset: auto.
void AddKvOptions(CLI::App& app, ModelOptions& options);
Result<std::optional<KvFormats>> KvFormatsOf(const ModelOptions& options);

LoadOptions MakeLoadOptions(const ModelOptions& options);

}  // namespace nibble
