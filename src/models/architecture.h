// SPDX-License-Identifier: Apache-2.0
// One architecture: one file models/arch/<name>.cc that turns a config into a list of operations. It knows names and shapes, no
// formats.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "graph/builder.h"
#include "io/json.h"

namespace nibble {

// What most configs say, with defaults applied; the whole JSON stands beside it for what only one family has.
struct ModelConfig {
  Json json;
  std::string where;  // for messages
  std::string model_type;
  int64_t hidden = 0, inter = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0, max_positions = 0;
  float norm_eps = 1e-6f;
  Activation act = Activation::kSilu;
  bool tied = false, attention_bias = false, mlp_bias = false;
};

// Where a rewrite may fold a scale or rotation without changing the function: `from` produces what `to` consume.
struct FoldPoint {
  std::string from;             // norm or linear module
  std::vector<std::string> to;  // linear modules
};

// Names that begin with `name` may begin with `on_disk` in some files (Checkpoint::LookUnder).
struct NamePrefix {
  std::string_view name, on_disk;
};

struct Architecture {
  std::string_view name;                      // "llama"
  std::vector<std::string_view> model_types;  // config.json's model_type
  // JSON object: what the family means by keys that its config.json leaves out, where that is not what ParseModelConfig assumes.
  std::string_view defaults = "{}";
  Result<Graph> (*build)(const ModelConfig& config, int rank, int ranks) = nullptr;
  std::vector<FoldPoint> (*fold_points)(const ModelConfig& config) = nullptr;
  // Name parts of tensors that files of this family carry and nobody needs.
  std::vector<std::string_view> ignored_tensors;
  // Where its tensors may stand besides the names of its graph. (A text model inside one of text and images is always looked for.)
  std::vector<NamePrefix> prefixes;
  // More of them, by the config; null: none.
  std::vector<std::string> (*unused_tensors)(const ModelConfig& config) = nullptr;
  // What this build lacks to run the family, for a message; empty: nothing. Such a row stands for its names alone.
  std::string_view missing;
};

const std::vector<const Architecture*>& ArchitectureTable();  // generated
// Unsupported, with the nearest names, if unknown.
Result<const Architecture*> FindArchitecture(std::string_view model_type);

// Reads the common keys, in all spellings (n_embd, d_model ...) of transformers 4.x and 5.x, after the family's defaults. Without
// them: RMS norms of 1e-6, silu, no biases, embeddings not tied, heads of hidden / heads. Of a model of text and images it is the
// text model's config (text_config).
Result<ModelConfig> ParseModelConfig(const Json& json, const std::string& where);
// hidden_act and its like. Unsupported for unknown names.
Result<Activation> ParseActivation(const std::string& name);
// Number of positions a row sees in layer i, 0 for all: layer_types, or the family's older keys decided by `slides`.
Result<int64_t> LayerWindow(const ModelConfig& config, int64_t layer, bool slides_by_default);

// Layers after the last that predict further tokens (num_nextn_predict_layers), for Architecture::unused_tensors.
std::vector<std::string> PredictionLayers(const ModelConfig& config);

struct RopeDefaults {
  double theta = 10000;
  double partial_factor = 1;
  bool interleaved = false;
  std::string layer_type;  // "full_attention", "sliding_attention": where rope_parameters has an object for each
};
// From rope_parameters (5.x) or rope_theta and rope_scaling (4.x): default, linear, dynamic, llama3, yarn, longrope,
// proportional.
// Unsupported for other kinds, naming those that are.
Result<RopeSpec> RopeFromConfig(const ModelConfig& config, int64_t head_dim, const RopeDefaults& defaults = {});

}  // namespace nibble
