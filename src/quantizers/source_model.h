// SPDX-License-Identifier: Apache-2.0
// A checkpoint as a list of matrices and vectors under their hub names, whatever it is stored as: what quantize and convert walk
// over.
#pragma once

#include <string>
#include <vector>

#include "base/thread_team.h"
#include "models/loader.h"

namespace nibble {

enum class ModuleRole : uint8_t { kLinear, kExpert, kRouter, kLmHead, kEmbedding };

struct SourceModule {
  std::string name;  // as the files spell it, "model.layers.0.self_attn.q_proj"; experts: "...experts.3.gate_proj"
  ModuleRole role = ModuleRole::kLinear;
  int64_t n = 0, k = 0;
  Checkpoint::LinearQuery query;  // how the checkpoint finds it; experts have the next fields instead
  std::string experts;            // prefix
  std::vector<std::string> other_experts;
  bool stacked_transposed = false, stacked_interleaved = false;  // as in MoeSpec
  int64_t expert = 0;
  MoeMatrix matrix = MoeMatrix::kGate;
};

struct SourceModel {
  ModelConfig config;
  std::vector<SourceModule> modules;  // in the order of the graph; a head tied to the embedding is not among them
  std::vector<VectorSpec> vectors;
  bool is_float = false;       // a hub folder without quantization: its other tensors can be copied as they are
  DType dtype = DType::kBF16;  // of its float tensors: what config.json says, else what the embedding has, else f16
};

// Reads config and names, and tells the checkpoint where they may stand; no weights. A fused module (qkv_proj) stays one where the
// checkpoint has it so.
Result<SourceModel> ReadSourceModel(Checkpoint& checkpoint);

// Binds views; claims the module's tensors.
Result<LinearPart> BindModule(Checkpoint& checkpoint, const SourceModule& module);

// Warns of tensors that nobody bound and that the output will lack (scales of a K/V cache ...), by count and first name.
void WarnOfDropped(const Checkpoint& checkpoint);

// W as f32, out [n][k]. Unsupported for weights that are more than a matrix (online transforms, low-rank factors).
Status DecodeWhole(const StoredWeight& weight, const std::string& name, ThreadTeam& team, float* out);

// What a weight decodes to, in one number, and how far it is from `reference` [n][k] (null: not asked). The same for any number of
// threads.
struct DecodedSummary {
  uint64_t hash = 0;
  double error2 = 0, norm2 = 0;  // sums of squares: of the differences, of the reference
};
DecodedSummary SummarizeDecoded(const StoredWeight& weight, const float* reference, ThreadTeam& team);

}  // namespace nibble
