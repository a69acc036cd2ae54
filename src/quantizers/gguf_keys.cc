// SPDX-License-Identifier: Apache-2.0
#include "quantizers/gguf_keys.h"

#include <algorithm>
#include <cmath>

namespace nibble {
namespace {

// What the attention of each layer turns by and sees, its heads, and the state with their keys and values.
struct LayerAttention {
  int rope = -1;
  int64_t window = 0, heads = 0;
  LayerState state = {};
};
std::vector<LayerAttention> Attentions(const Graph& graph) {
  std::vector<LayerAttention> layers;
  LayerAttention next;
  for (const auto& step : graph.ops) {
    if (const auto* rope = std::get_if<RopeOp>(&step.op)) next.rope = rope->rope;
    if (const auto* attention = std::get_if<AttentionOp>(&step.op)) {
      next.window = attention->window;
      next.heads = attention->heads;
      next.state = graph.states[static_cast<size_t>(attention->layer)];
      layers.push_back(next);
      next = {};
    }
  }
  return layers;
}

// Heads of keys and values of each layer, 0 where it keeps a state that every token rewrites.
Json KvHeads(const Graph& graph) {
  Json kv = Json::array();
  for (const auto& step : graph.ops) {
    if (const auto* attention = std::get_if<AttentionOp>(&step.op))
      kv.push_back(graph.states[static_cast<size_t>(attention->layer)].heads);
    // A delta net has two states, those of its convolution first.
    if (const auto* conv = std::get_if<ShortConvOp>(&step.op)) {
      const size_t next = static_cast<size_t>(conv->layer) + 1;
      if (next == graph.states.size() || graph.states[next].kind != StateKind::kRecurrent) kv.push_back(0);
    }
    if (std::holds_alternative<GatedDeltaOp>(step.op) || std::holds_alternative<LightningOp>(step.op)) kv.push_back(0);
  }
  return kv;
}

// Numbers and sizes of heads: those of layers that see everything, and beside them the sizes that layers with a window have.
void AddHeads(const GgufArchitecture& architecture, const ModelConfig& config, const Graph& graph,
              const std::vector<LayerAttention>& layers, Json* keys) {
  LayerState far = {.heads = config.kv_heads, .k_dim = config.head_dim, .v_dim = config.head_dim}, near;
  Json heads = Json::array();
  for (const LayerAttention& layer : layers) {
    (layer.window > 0 ? near : far) = layer.state;
    heads.push_back(layer.heads);
  }
  const auto slides = [](const LayerAttention& layer) { return layer.window > 0; };
  if (!layers.empty() && std::all_of(layers.begin(), layers.end(), slides)) far = near;
  (*keys)["attention.head_count"] = architecture.heads_by_layer ? heads : Json(config.heads);
  (*keys)["attention.head_count_kv"] = architecture.kv_by_layer ? KvHeads(graph) : Json(far.heads);
  (*keys)["attention.key_length"] = far.k_dim;
  (*keys)["attention.value_length"] = far.v_dim;
  if (near.heads == 0 || (near.k_dim == far.k_dim && near.v_dim == far.v_dim)) return;
  (*keys)["attention.key_length_swa"] = near.k_dim;
  (*keys)["attention.value_length_swa"] = near.v_dim;
}

void AddWindows(const std::vector<LayerAttention>& layers, Json* keys) {
  keys->erase("attention.sliding_window");
  const auto slides = [](const LayerAttention& layer) { return layer.window > 0; };
  const auto first = std::find_if(layers.begin(), layers.end(), slides);
  if (first == layers.end()) return;
  (*keys)["attention.sliding_window"] = first->window;
  if (std::all_of(layers.begin(), layers.end(), slides)) return;
  Json pattern = Json::array();
  for (const LayerAttention& layer : layers) pattern.push_back(slides(layer));
  (*keys)["attention.sliding_window_pattern"] = std::move(pattern);
}

double Plain(const RopeSpec& rope, double theta, size_t i) {
  return std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rope.rotary_dims));
}

// The base whose powers the frequencies are, if there is one: theta, or what a rule made of it (HunYuan's alpha).
std::optional<double> Base(const RopeSpec& rope) {
  const auto fits = [&](double theta) {
    for (size_t i = 0; i < rope.inv_freq.size(); ++i)
      if (std::fabs(static_cast<double>(rope.inv_freq[i]) - Plain(rope, theta, i)) > 1e-5 * Plain(rope, theta, i)) return false;
    return true;
  };
  if (rope.attention_factor != 1 || rope.dynamic_from > 0 || !rope.long_inv_freq.empty()) return std::nullopt;
  if (fits(rope.theta)) return rope.theta;
  if (rope.inv_freq.size() < 2) return std::nullopt;
  const double last = static_cast<double>(rope.inv_freq.size() - 1);
  const double other = std::pow(static_cast<double>(rope.inv_freq.back()), -static_cast<double>(rope.rotary_dims) / (2 * last));
  return fits(other) ? std::optional(other) : std::nullopt;
}

constexpr float kStops = 1e30f;  // llama.cpp's divisor of pairs that do not turn

GgufDivisors Divisors(const char* tensor, const RopeSpec& rope, const std::vector<float>& frequencies) {
  GgufDivisors divisors{.tensor = tensor};
  for (size_t i = 0; i < frequencies.size(); ++i)
    divisors.values.push_back(
        frequencies[i] == 0 ? kStops : static_cast<float>(Plain(rope, rope.theta, i) / static_cast<double>(frequencies[i])));
  return divisors;
}

Status AddScaling(const ModelConfig& config, const Json& params, const RopeSpec& rope, const std::string& where, Json* keys,
                  std::vector<GgufDivisors>* divisors) {
  NIBBLE_TRY(const std::string old_type, JsonString(params, "type", "default"));
  NIBBLE_TRY(const std::string type, JsonString(params, "rope_type", old_type));
  const int64_t outer = JsonInt(config.json, "original_max_position_embeddings", 0).value_or(0);
  NIBBLE_TRY(const int64_t original, JsonInt(params, "original_max_position_embeddings", outer));
  if (original > 0) (*keys)["rope.scaling.original_context_length"] = original;
  const bool one_table = rope.long_inv_freq.empty() || rope.long_inv_freq == rope.inv_freq;
  if (!rope.long_inv_freq.empty() && (!one_table || rope.attention_factor != 1)) {
    if (rope.attention_factor != rope.long_attention_factor)
      return Unsupported("{}: rope with other attention factors for long and short texts cannot be said in a GGUF file", where);
    divisors->push_back(Divisors("rope_factors_long.weight", rope, rope.long_inv_freq));
    divisors->push_back(Divisors("rope_factors_short.weight", rope, rope.inv_freq));
    (*keys)["rope.scaling.original_context_length"] = rope.long_from;
    (*keys)["rope.scaling.attn_factor"] = static_cast<double>(rope.attention_factor);
    return {};
  }
  if (type == "llama3" || type == "proportional" || (type == "longrope" && one_table)) {
    divisors->push_back(Divisors("rope_freqs.weight", rope, rope.inv_freq));
    return {};
  }
  if (type != "linear" && type != "yarn")
    return Unsupported(
        "{}: rope type \"{}\" cannot be said in a GGUF file; written are default, linear, yarn, llama3, longrope, proportional",
        where, type);
  NIBBLE_TRY((*keys)["rope.scaling.factor"], JsonNumber(params, "factor", 1.0));
  (*keys)["rope.scaling.type"] = type;
  for (const auto& [hub, gguf] :
       {std::pair("beta_fast", "rope.scaling.yarn_beta_fast"), std::pair("beta_slow", "rope.scaling.yarn_beta_slow")}) {
    NIBBLE_TRY(const double beta, JsonNumber(params, hub, 0.0));
    if (beta > 0) (*keys)[gguf] = beta;
  }
  NIBBLE_TRY(const double attention, JsonNumber(params, "attention_factor", 0.0));
  if (type == "yarn" && attention > 0) (*keys)["rope.scaling.yarn_attn_factor"] = attention;
  return {};
}

// One rope for layers that see everything, which is the file's, and one for those with a window.
Status AddRopes(const ModelConfig& config, const Graph& graph, const std::vector<LayerAttention>& layers, const std::string& where,
                Json* keys, std::vector<GgufDivisors>* divisors) {
  if (graph.ropes.empty()) return {};
  int far = -1, near = -1;
  for (const LayerAttention& layer : layers)
    (layer.window > 0 ? near : far) = layer.rope >= 0 ? layer.rope : layer.window > 0 ? near : far;
  if (far < 0) far = near < 0 ? 0 : near;
  const RopeSpec& rope = graph.ropes[static_cast<size_t>(far)];
  (*keys)["rope.dimension_count"] = rope.rotary_dims;
  (*keys)["rope.freq_base"] = rope.theta;
  if (near >= 0 && near != far && !(graph.ropes[static_cast<size_t>(near)] == rope)) {
    const auto base = Base(graph.ropes[static_cast<size_t>(near)]);
    if (!base) return Unsupported("{}: a scaled rope in layers with a window cannot be said in a GGUF file", where);
    (*keys)["rope.freq_base_swa"] = *base;
    const int64_t rotated = graph.ropes[static_cast<size_t>(near)].rotary_dims;
    if (rotated != rope.rotary_dims) (*keys)["rope.dimension_count_swa"] = rotated;
  }
  if (const auto base = Base(rope)) {
    (*keys)["rope.freq_base"] = *base;
    return {};
  }
  const Json* params = JsonFind(config.json, "rope_parameters");
  if (params && JsonFind(*params, "full_attention")) params = JsonFind(*params, "full_attention");
  if (!params || !params->is_object()) params = JsonFind(config.json, "rope_scaling");
  const Json none = Json::object();
  return AddScaling(config, params && params->is_object() ? *params : none, rope, where, keys, divisors);
}

void AddExpertKeys(const MoeSpec& moe, Json* keys) {
  (*keys)["expert_count"] = moe.experts;
  (*keys)["expert_used_count"] = moe.top_k;
  (*keys)["expert_feed_forward_length"] = moe.inter;
  (*keys)["expert_weights_norm"] = moe.renormalize;
  if (moe.scale != 1) (*keys)["expert_weights_scale"] = static_cast<double>(moe.scale);
}

void AddFromConfig(std::span<const GgufKey> table, const Json& config, Json* keys) {
  for (const GgufKey& key : table) {
    const Json* value = FindPath(config, key.hub);
    if (key.kind == GgufKey::kHasTensor || !value) continue;
    if (key.kind == GgufKey::kBool ? !value->is_boolean() : !value->is_number()) continue;
    Json& out = (*keys)[std::string(key.gguf)];
    out = *value;
    if (key.kind == GgufKey::kNumber) out = value->get<double>();
    if (key.kind == GgufKey::kInt) out = value->get<int64_t>();
  }
}

void Put(const std::string& name, const Json& value, GgufMetadataWriter* keys) {
  if (value.is_boolean()) {
    keys->Bool(name, value.get<bool>());
  } else if (value.is_string()) {
    keys->String(name, value.get<std::string>());
  } else if (value.is_number_float()) {
    keys->F32(name, value.get<float>());
  } else if (value.is_number()) {
    keys->U32(name, static_cast<uint32_t>(value.get<int64_t>()));
  } else if (value.is_array() && !value.empty() && value[0].is_number_float()) {
    keys->F32s(name, value.get<std::vector<float>>());
  } else if (value.is_array()) {
    std::vector<int32_t> numbers;
    for (const Json& one : value) numbers.push_back(one.is_boolean() ? one.get<bool>() : one.get<int32_t>());
    keys->I32s(name, numbers);
  }
}

}  // namespace

Status WriteGgufKeys(const GgufArchitecture& architecture, const ModelConfig& c, const Graph& graph, const std::string& where,
                     GgufMetadataWriter* keys, std::vector<GgufDivisors>* divisors) {
  const std::vector<LayerAttention> layers = Attentions(graph);
  Json all = Json::object();
  AddFromConfig(UsualGgufKeys(), c.json, &all);
  if (!graph.moes.empty()) AddExpertKeys(graph.moes[0], &all);
  AddFromConfig(architecture.keys, c.json, &all);
  for (const auto& [key, value] : architecture.constants) all[std::string(key)] = value;
  all["context_length"] = c.max_positions;
  all["embedding_length"] = c.hidden;
  all["block_count"] = c.layers;
  all["feed_forward_length"] = c.inter;
  all["vocab_size"] = c.vocab;
  all[architecture.layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"] =
      static_cast<double>(c.norm_eps);
  AddHeads(architecture, c, graph, layers, &all);
  AddWindows(layers, &all);
  NIBBLE_RETURN_IF_ERROR(AddRopes(c, graph, layers, where, &all, divisors));
  if (const Status said = architecture.write ? architecture.write(c.json, &all) : Status(); !said)
    return tl::unexpected<Error>(Error(said.error()).In(where));
  for (const auto& [key, value] : all.items())
    Put(key.starts_with('/') ? key.substr(1) : fmt::format("{}.{}", architecture.name, key), value, keys);
  return {};
}

}  // namespace nibble
