// SPDX-License-Identifier: Apache-2.0
// config.json, in the spellings of transformers 4.x and 5.x, and the lookup of the architecture.
#include <algorithm>

#include "base/nearest_names.h"
#include "models/architecture.h"

namespace nibble {
namespace {

Result<int64_t> PositiveInt(const Json& json, std::string_view key, std::optional<int64_t> fallback = std::nullopt) {
  constexpr int64_t kMost = int64_t{1} << 31;  // keeps every product of two sizes inside 64 bits
  NIBBLE_TRY(const int64_t value, JsonInt(json, key, fallback));
  if (value <= 0 || value >= kMost) return Corrupt("key \"{}\": found {}, wanted 1..{}", key, value, kMost - 1);
  return value;
}

// Other families' names of the common keys.
struct Synonym {
  const char *common, *other;
};
constexpr Synonym kSynonyms[] = {
    {"hidden_size", "n_embd"},
    {"hidden_size", "d_model"},
    {"num_hidden_layers", "n_layer"},
    {"num_hidden_layers", "n_layers"},
    {"num_hidden_layers", "num_layers"},
    {"num_attention_heads", "n_head"},
    {"num_attention_heads", "n_heads"},
    {"num_attention_heads", "num_heads"},
    {"num_key_value_heads", "num_kv_heads"},
    {"max_position_embeddings", "n_positions"},
    {"max_position_embeddings", "max_seq_len"},
    {"max_position_embeddings", "seq_length"},
    {"intermediate_size", "n_inner"},
    {"intermediate_size", "ffn_dim"},
    {"intermediate_size", "ffn_hidden_size"},
    {"hidden_act", "activation_function"},
    {"hidden_act", "hidden_activation"},
    {"hidden_act", "activation"},
    {"num_experts", "num_local_experts"},
    {"num_experts", "n_routed_experts"},
    {"num_experts", "moe_num_experts"},
    {"moe_intermediate_size", "expert_intermediate_size"},
    {"num_experts_per_tok", "experts_per_token"},
    {"num_experts_per_tok", "moe_topk"},
    {"num_experts_per_tok", "moe_k"},
    {"num_experts_per_tok", "top_k_experts"},
    {"partial_rotary_factor", "rotary_pct"},
    {"rope_theta", "rotary_emb_base"},
    {"rms_norm_eps", "layer_norm_eps"},
    {"rms_norm_eps", "layer_norm_epsilon"},
    {"rms_norm_eps", "layernorm_epsilon"},
    {"rms_norm_eps", "norm_eps"},
    {"rms_norm_eps", "norm_epsilon"},
};

// Of a model of text and images: the text model's own config, and what stands beside it for both.
Json TextConfig(const Json& json) {
  const Json* inner = JsonFind(json, "text_config");
  if (!inner || !inner->is_object()) return json;
  Json text = *inner;
  for (const auto& [key, value] : json.items())
    if (!value.is_object() && !JsonFind(text, key)) text[key] = value;
  return text;
}

// The config with the family's defaults where a key is missing (null counts as missing) and common names beside the family's own.
Json Completed(const Json& given) {
  const Json json = TextConfig(given);
  Json all = json;
  const auto missing = [&](const char* key) { return !JsonFind(all, key); };
  for (const auto& [common, other] : kSynonyms)
    if (missing(common) && !missing(other)) all[common] = all[other];
  const Json* type = JsonFind(json, "model_type");
  if (!type || !type->is_string()) return all;
  for (const Architecture* architecture : ArchitectureTable()) {
    const auto& types = architecture->model_types;
    if (std::find(types.begin(), types.end(), type->get<std::string>()) == types.end()) continue;
    const Json defaults = Json::parse(architecture->defaults);
    for (const auto& [key, value] : defaults.items())
      if (missing(key.c_str())) all[key] = value;
  }
  return all;
}

// Of a family that this build cannot run, what it lacks: before its config is read, whose keys may be as foreign.
Status RefuseMissing(std::string_view model_type) {
  for (const Architecture* architecture : ArchitectureTable())
    for (const std::string_view type : architecture->model_types)
      if (type == model_type && !architecture->missing.empty())
        return Unsupported("model_type \"{}\" needs {}, which this build does not have", model_type, architecture->missing);
  return {};
}

Status Fill(ModelConfig* c) {
  const Json& json = c->json;
  NIBBLE_TRY(c->model_type, JsonString(json, "model_type"));
  NIBBLE_RETURN_IF_ERROR(RefuseMissing(c->model_type));
  NIBBLE_TRY(c->hidden, PositiveInt(json, "hidden_size"));
  NIBBLE_TRY(c->layers, PositiveInt(json, "num_hidden_layers"));
  NIBBLE_TRY(c->heads, PositiveInt(json, "num_attention_heads"));
  NIBBLE_TRY(c->kv_heads, PositiveInt(json, "num_key_value_heads", c->heads));
  NIBBLE_TRY(c->vocab, PositiveInt(json, "vocab_size"));
  NIBBLE_TRY(c->inter, PositiveInt(json, "intermediate_size", 4 * c->hidden));
  NIBBLE_TRY(c->max_positions, PositiveInt(json, "max_position_embeddings", 2048));
  if (c->heads % c->kv_heads != 0)
    return Corrupt("num_attention_heads {} is not a multiple of num_key_value_heads {}", c->heads, c->kv_heads);
  if (!JsonFind(json, "head_dim") && c->hidden % c->heads != 0)
    return Corrupt("hidden_size {} is not a multiple of num_attention_heads {} and there is no head_dim", c->hidden, c->heads);
  NIBBLE_TRY(c->head_dim, PositiveInt(json, "head_dim", c->hidden / c->heads));
  NIBBLE_TRY(const double eps, JsonNumber(json, "rms_norm_eps", 1e-6));
  c->norm_eps = static_cast<float>(eps);
  NIBBLE_TRY(const std::string act, JsonString(json, "hidden_act", "silu"));
  if (act != "xielu") {  // an operation with parameters of its own; a family that has it says so
    NIBBLE_TRY(c->act, ParseActivation(act));
  }
  NIBBLE_TRY(c->attention_bias, JsonBool(json, "attention_bias", false));
  NIBBLE_TRY(c->mlp_bias, JsonBool(json, "mlp_bias", false));
  NIBBLE_TRY(c->tied, JsonBool(json, "tie_word_embeddings", false));
  return {};
}

}  // namespace

Result<Activation> ParseActivation(const std::string& name) {
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast" || name == "gelu_tanh") return Activation::kGeluTanh;
  if (name == "gelu") return Activation::kGeluErf;
  if (name == "quick_gelu") return Activation::kGeluQuick;
  if (name == "relu") return Activation::kRelu;
  if (name == "relu2") return Activation::kRelu2;
  return Unsupported("hidden_act \"{}\" (known: silu, gelu, gelu_pytorch_tanh, gelu_new, quick_gelu, relu, relu2)", name);
}

Result<ModelConfig> ParseModelConfig(const Json& json, const std::string& where) {
  ModelConfig config;
  config.json = Completed(json);
  config.where = where;
  if (Status filled = Fill(&config); !filled) return tl::unexpected(std::move(filled.error()).In(where));
  return config;
}

Result<int64_t> LayerWindow(const ModelConfig& config, int64_t layer, bool slides_by_default) {
  NIBBLE_TRY_IN(config.where, const int64_t window, JsonInt(config.json, "sliding_window", 0));
  if (window < 0) return Corrupt("{}: sliding_window is {}, wanted a positive number or null", config.where, window);
  bool slides = slides_by_default;
  if (const Json* types = JsonFind(config.json, "layer_types")) {
    if (!types->is_array() || static_cast<int64_t>(types->size()) < config.layers ||
        !types->at(static_cast<size_t>(layer)).is_string())
      return Corrupt("{}: layer_types must list a name for each of the {} layers", config.where, config.layers);
    const std::string type = types->at(static_cast<size_t>(layer)).get<std::string>();
    if (type != "sliding_attention" && type != "full_attention")
      return Unsupported("{}: layer_types[{}] is \"{}\" (known here: full_attention, sliding_attention)", config.where, layer,
                         type);
    slides = type == "sliding_attention";
  }
  if (slides && window == 0 && JsonFind(config.json, "sliding_window"))
    return Corrupt("{}: sliding_window is 0 where layer {} has one, wanted a positive number or null", config.where, layer);
  return slides ? window : 0;
}

std::vector<std::string> PredictionLayers(const ModelConfig& config) {
  std::vector<std::string> parts;
  const int64_t count = JsonInt(config.json, "num_nextn_predict_layers", 0).value_or(0);
  for (int64_t i = 0; i < std::min<int64_t>(count, 16); ++i) parts.push_back(fmt::format("model.layers.{}.", config.layers + i));
  return parts;
}

Result<const Architecture*> FindArchitecture(std::string_view model_type) {
  NIBBLE_RETURN_IF_ERROR(RefuseMissing(model_type));
  std::vector<std::string_view> names;
  for (const Architecture* architecture : ArchitectureTable())
    for (const std::string_view type : architecture->model_types) {
      if (type == model_type) return architecture;
      if (architecture->missing.empty()) names.push_back(type);
    }
  return Unsupported(
      "model_type \"{}\" is unknown; nearest first, this build runs: {}; if the structure is one of these, try --architecture-as",
      model_type, NearestNames(model_type, names, names.size()));
}

}  // namespace nibble
