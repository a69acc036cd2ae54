// SPDX-License-Identifier: Apache-2.0
// A checkpoint -> a compressed-tensors hub folder: walks the modules, rounds them one at a time, writes, opens the result again and
// compares.
#pragma once

#include <string>
#include <vector>

#include "base/progress.h"
#include "methods/checkpoint.h"
#include "quantizers/quantizer.h"
#include "quantizers/scheme.h"

namespace nibble {

// What to do with a module whose rows the group size does not divide.
enum class Ragged : uint8_t { kError, kChannel /* one scale a row */, kIgnore /* leave it as it is */ };

struct QuantizeOptions {
  Scheme scheme;
  std::string quantizer = "rtn";
  bool scale_search = true;
  // Expressions over module names, as Python's re.match reads them (anchored at the start); a leading "re:" is dropped. One that
  // matches no module is a Usage error. lm_head, embeddings and routers are left alone in any case.
  std::vector<std::string> ignore;
  Ragged ragged = Ragged::kError;
  int threads = 1;
  bool force = false;  // replace a model folder
  int64_t max_shard_bytes = int64_t{5} << 30;
  std::string source_name;  // for the record, as the user gave it
};

struct QuantizedModule {
  std::string name;
  int64_t n = 0, k = 0;
  int64_t stored_bytes = 0;
  double relative_error = 0;  // |W - decoded| / |W|, Frobenius
  std::string stored;         // "int4 g128"
};

struct QuantizeReport {
  std::vector<QuantizedModule> modules;
  int64_t left_alone = 0;                     // linear modules that stay float
  double mean_relative_error = 0;             // over modules
  double bits_per_weight = 0;                 // of the quantized modules
  int64_t bytes_before = 0, bytes_after = 0;  // weight bytes of the whole checkpoint
  double seconds = 0;
};

// Nothing is left under `out` unless everything succeeded: errors, a full disk or a wish to stop remove what was written. Every
// quantized module of the result decodes to the bits that the rounder computed, every copied tensor has the source's bytes. Memory:
// the largest module as f32 and its codes. The result's bytes do not depend on the number of threads.
Result<QuantizeReport> QuantizeModel(Checkpoint& source, const std::string& out, const QuantizeOptions& options,
                                     Progress* progress = nullptr);

}  // namespace nibble
