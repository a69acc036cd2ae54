// SPDX-License-Identifier: Apache-2.0
// A checkpoint in another container: a float hub folder from anything that can be read, or a GGUF file from models that GGUF has a
// name for.
#pragma once

#include <string>

#include "base/progress.h"
#include "methods/checkpoint.h"

namespace nibble {

struct ConvertOptions {
  enum Target : uint8_t { kSafetensors, kGguf } target = kSafetensors;
  // "f32", "f16", "bf16", and "q8_0" for GGUF. Empty: the source's own float type (config.json's dtype); f16 where it says none.
  std::string dtype;
  int threads = 1;
  bool force = false;
  int64_t max_shard_bytes = int64_t{5} << 30;
};

struct ConvertReport {
  int64_t tensors = 0;
  std::string dtype;
  double mean_relative_error = 0;  // GGUF: of the matrices, against the source
  bool tokenizer = true;           // whether the output has one
  int64_t bytes_before = 0, bytes_after = 0;
  double seconds = 0;
};

// `out`: a folder, or a .gguf file. Nothing is left there unless everything was written, opened again and compared.
// Unsupported: weights that are more than a matrix; GGUF: architectures or rope settings that it cannot say.
Result<ConvertReport> ConvertModel(Checkpoint& source, const std::string& out, const ConvertOptions& options,
                                   Progress* progress = nullptr);

}  // namespace nibble
