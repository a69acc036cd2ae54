// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "methods/gguf/rope.h"

namespace nibble {
namespace {

constexpr GgufName kUsualGlobals[] = {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
constexpr GgufName kUsualNames[] = {
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_qkv", "self_attn.q_proj+self_attn.k_proj+self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"ffn_gate_inp", "mlp.gate"},
    {"ffn_gate_exps", "mlp.experts.*.gate_proj"},
    {"ffn_up_exps", "mlp.experts.*.up_proj"},
    {"ffn_down_exps", "mlp.experts.*.down_proj"},
    {"ffn_gate_up_exps", "mlp.experts.*.gate_proj|mlp.experts.*.up_proj"},
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj"},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj"},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj"},
    {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
};

constexpr GgufKey kUsualKeys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"expert_count", "num_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
    {"expert_shared_count", "n_shared_experts"},
    {"expert_group_count", "n_group"},
    {"expert_group_used_count", "topk_group"},
    {"expert_weights_norm", "norm_topk_prob", GgufKey::kBool},
    {"expert_weights_scale", "routed_scaling_factor", GgufKey::kNumber},
    {"leading_dense_block_count", "first_k_dense_replace"},
    {"nextn_predict_layers", "num_nextn_predict_layers"},
    {"attn_q.bias", "attention_bias", GgufKey::kHasTensor},
    {"attn_qkv.bias", "attention_bias", GgufKey::kHasTensor},
    {"ffn_down.bias", "mlp_bias", GgufKey::kHasTensor},
};

bool IsWhole(const GgufName& row) { return row.gguf.find('.') != std::string_view::npos || row.rule >= GgufName::kNegExp; }

const GgufName* Lookup(std::span<const GgufName> own, std::span<const GgufName> usual, std::string_view name) {
  for (const std::span<const GgufName> rows : {own, usual})
    for (const GgufName& row : rows)
      if (row.gguf == name) return &row;
  return nullptr;
}

// "blk.12.attn_q.weight": "12" and "attn_q.weight". Nullopt for a number that is none.
struct Parts {
  std::string_view layer, name;
};
std::optional<Parts> Cut(std::string_view name) {
  if (!name.starts_with("blk.")) return Parts{"", name};
  name.remove_prefix(4);
  const size_t dot = name.find('.');
  if (dot == 0 || dot == std::string_view::npos || dot > 6) return std::nullopt;
  if (name.substr(0, dot).find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return Parts{name.substr(0, dot), name.substr(dot + 1)};
}

}  // namespace

const GgufArchitecture* FindGgufArchitecture(const GgufReader& reader) {
  for (const auto& rows : GgufFamilyTable())
    for (const GgufArchitecture& row : rows)
      if (row.name == reader.name() && (!row.is || row.is(reader))) return &row;
  return nullptr;
}

std::vector<const GgufArchitecture*> GgufRowsOf(std::string_view model_type) {
  std::vector<const GgufArchitecture*> found;
  for (const auto& rows : GgufFamilyTable())
    for (const GgufArchitecture& row : rows)
      if (row.model_type == model_type) found.push_back(&row);
  return found;
}

std::string GgufArchitectureNames() {
  std::vector<std::string_view> names;
  for (const auto& rows : GgufFamilyTable())
    for (const GgufArchitecture& row : rows)
      if (std::find(names.begin(), names.end(), row.name) == names.end()) names.push_back(row.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

Status EveryFourthSeesAll(const GgufReader& reader, Json* config) {
  NIBBLE_TRY((*config)["layer_types"], reader.LayerTypes(4));
  return {};
}

Status WithoutPrediction(const GgufReader& reader, Json* config) {
  NIBBLE_TRY(const int64_t further, reader.Int("nextn_predict_layers", 0));
  const int64_t layers = (*config)["num_hidden_layers"].get<int64_t>();
  if (further < 0 || further >= layers)
    return Corrupt("{}: key \"{}\": {} of {} layers", reader.path(), reader.Key("nextn_predict_layers"), further, layers);
  (*config)["num_hidden_layers"] = layers - further;
  return {};
}

Status RopeOfWindows(const GgufReader& reader, int64_t head_dim, double theta, Json* config) {
  const Json far = (*config)["rope_parameters"];
  Json near = {{"rope_type", "default"}};
  NIBBLE_TRY(near["rope_theta"], reader.Number("rope.freq_base_swa", theta));
  NIBBLE_TRY(const int64_t of_all, reader.Positive("rope.dimension_count", head_dim));
  NIBBLE_TRY(const int64_t rotated, reader.Positive("rope.dimension_count_swa", std::min(of_all, head_dim)));
  near["partial_rotary_factor"] = PartOf(rotated, head_dim);
  (*config)["rope_parameters"] = {{"full_attention", far}, {"sliding_attention", near}};
  return {};
}

std::span<const GgufKey> UsualGgufKeys() { return kUsualKeys; }

std::optional<HubName> HubTensorName(std::string_view gguf_name, const GgufArchitecture& architecture) {
  const auto parts = Cut(gguf_name);
  if (!parts) return std::nullopt;
  const bool global = parts->layer.empty();
  const std::span<const GgufName> own = global ? architecture.globals : architecture.names;
  const std::span<const GgufName> usual = global ? std::span<const GgufName>(kUsualGlobals) : kUsualNames;
  const GgufName* row = Lookup(own, usual, parts->name);
  std::string suffix;
  if (!row || !IsWhole(*row)) {
    const size_t dot = parts->name.rfind('.');
    if (dot == std::string_view::npos) return std::nullopt;
    row = Lookup(own, usual, parts->name.substr(0, dot));
    if (!row || IsWhole(*row)) return std::nullopt;
    suffix = parts->name.substr(dot);
  }
  if (row->hub.empty()) return std::nullopt;  // hides a usual one
  HubName hub{.layer = global ? 0 : std::stoll(std::string(parts->layer)),
              .rule = row->rule == GgufName::kPlusOne && suffix != ".weight" ? GgufName::kPlain : row->rule,
              .experts = row->hub.find('*') != std::string_view::npos,
              .equal = row->hub.find('|') != std::string_view::npos,
              .rope_rows = architecture.permuted && (row->gguf == "attn_q" || row->gguf == "attn_k"),
              .tiles = row->tiles};
  for (std::string_view rest = row->hub; !rest.empty();) {
    const size_t end = std::min(rest.find_first_of("+|"), rest.size());
    hub.tensors.push_back(global ? fmt::format("{}{}", rest.substr(0, end), suffix)
                                 : fmt::format("{}.{}.{}{}", architecture.layers, parts->layer, rest.substr(0, end), suffix));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return hub;
}

std::vector<std::string> GgufTensorNames(const GgufArchitecture& architecture, int64_t layers) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& prefix, std::span<const GgufName> own, std::span<const GgufName> usual) {
    for (const std::span<const GgufName> rows : {own, usual})
      for (const GgufName& row : rows) {
        if (row.hub.empty() || (rows.data() == usual.data() && Lookup(own, {}, row.gguf))) continue;
        for (const char* suffix : {".weight", ".bias"}) {
          names.push_back(fmt::format("{}{}{}", prefix, row.gguf, IsWhole(row) ? "" : suffix));
          if (IsWhole(row)) break;
        }
      }
  };
  add("", architecture.globals, kUsualGlobals);
  for (int64_t layer = 0; layer < layers; ++layer) add(fmt::format("blk.{}.", layer), architecture.names, kUsualNames);
  return names;
}

std::vector<int32_t> TiledHeads(const Json& config, int64_t rows) {
  const int64_t keys = config.value("linear_num_key_heads", int64_t{1}),
                values = config.value("linear_num_value_heads", int64_t{1}),
                dim = config.value("linear_value_head_dim", int64_t{1});
  const int64_t unit = rows == values ? 1 : dim, first = rows - values * unit;
  if (keys < 2 || values <= keys || values % keys != 0 || first < 0) return {};
  std::vector<int32_t> map;
  for (int64_t row = 0; row < first; ++row) map.push_back(static_cast<int32_t>(row));
  const int64_t ratio = values / keys;
  for (int64_t head = 0; head < values; ++head)
    for (int64_t i = 0; i < unit; ++i) map.push_back(static_cast<int32_t>(first + (head % ratio * keys + head / ratio) * unit + i));
  return map;
}

void SetPath(Json* config, std::string_view path, Json value) {
  for (size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
    config = &(*config)[std::string(path.substr(0, dot))];
    path.remove_prefix(dot + 1);
  }
  (*config)[std::string(path)] = std::move(value);
}

const Json* FindPath(const Json& config, std::string_view path) {
  const Json* at = &config;
  while (at) {
    const size_t dot = std::min(path.find('.'), path.size());
    at = at->is_object() ? JsonFind(*at, std::string(path.substr(0, dot))) : nullptr;
    if (dot == path.size()) return at;
    path.remove_prefix(dot + 1);
  }
  return at;
}

}  // namespace nibble
