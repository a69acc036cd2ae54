// SPDX-License-Identifier: Apache-2.0
// Checkpoint -> graphs with weights, one per rank: the only place where model, method and kernels meet.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/thread_team.h"
#include "graph/weights.h"
#include "methods/checkpoint.h"
#include "models/architecture.h"

namespace nibble {

struct LoadOptions {
  ActivationPolicy activations = ActivationPolicy::kF32;
  bool ignore_activation_scheme = false;
  int ranks = 1;
  std::string architecture_as;  // treat the model as this model_type
  std::string pack_cache_dir;
  Isa isa = Cpu().isa;
  bool reference = false;  // run everything on the reference kernel, on the file's bytes
  // Dynamic scales that tools compute from a whole tensor [batch, positions, columns] span a step's rows, as in the tools:
  // sequences then depend on what else is in the step. For comparing with them alone.
  bool batch_scales = false;
};

struct LoadedModel {
  const Architecture* architecture = nullptr;
  ModelConfig config;
  std::vector<Graph> graphs;            // by rank, passes applied
  std::vector<BoundWeights> weights;    // by rank
  int64_t packed_bytes = 0;             // all ranks
  std::vector<std::string> replicated;  // layers that could not be cut over ranks, and why
};

// Config and graph alone (no weights): shapes for plan and explain.
Result<ModelConfig> ConfigOf(const Checkpoint& checkpoint, const LoadOptions& options);
Result<Graph> BuildGraph(const ModelConfig& config, int rank, int ranks);

// Tells the checkpoint under which other names files of this architecture have its tensors, and which of theirs nobody needs.
void UseNamesOf(const Architecture& architecture, Checkpoint& checkpoint);

// The K/V cache that the checkpoint asks for, if any. Works for a config alone.
Result<std::optional<KvFormats>> KvScheme(const Checkpoint& checkpoint, const Graph& graph);

// Binds, cuts and packs every weight. teams[r] packs rank r's. Errors name the tensor. Leftover tensors are an error.
Result<LoadedModel> LoadModel(Checkpoint& checkpoint, const LoadOptions& options,
                              const std::vector<std::shared_ptr<ThreadTeam>>& teams, Progress* progress = nullptr);

// How a checkpoint is asked for one part.
Checkpoint::LinearQuery QueryOf(const LinearSpec& spec, const LinearPartSpec& part);
// The parts of one linear layer of the graph, whole, as the checkpoint has them.
Result<std::vector<LinearPart>> LinearParts(Checkpoint& checkpoint, const LinearSpec& spec);

}  // namespace nibble
