// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "methods/gguf/rope.h"

namespace nibble {
namespace {

// Far above every model; row maps of this size are allocated.
constexpr int64_t kMaxHeads = 8192, kMaxHeadDim = 4096, kMaxLayers = 65536;

Status AddTokenIds(const GgufMetadata& metadata, Json& config) {
  for (const auto& [key, hub] :
       {std::pair("tokenizer.ggml.bos_token_id", "bos_token_id"), std::pair("tokenizer.ggml.eos_token_id", "eos_token_id"),
        std::pair("tokenizer.ggml.padding_token_id", "pad_token_id")}) {
    if (!metadata.Find(key)) continue;
    NIBBLE_TRY(const int64_t id, metadata.Int(key));
    config[hub] = id;
  }
  return {};
}

Result<int64_t> VocabularySize(const GgufReader& reader) {
  const StoredTensor* embedding = reader.file().tensors.Find("token_embd.weight");
  if (embedding && embedding->shape.rank() == 2) return embedding->shape[0];
  if (embedding)
    return Corrupt("{}: tensor \"token_embd.weight\": shape {}, wanted two dimensions", embedding->file,
                   embedding->shape.ToString());
  NIBBLE_TRY(const auto tokens, reader.file().metadata.Strings("tokenizer.ggml.tokens"));
  if (!tokens.empty()) return static_cast<int64_t>(tokens.size());
  return reader.Positive("vocab_size");
}

bool HasInSomeLayer(const GgufReader& reader, std::string_view tensor, int64_t layers) {
  for (int64_t layer = 0; layer < std::min<int64_t>(layers, 1024); ++layer)
    if (reader.HasTensor(fmt::format("blk.{}.{}", layer, tensor))) return true;
  return false;
}

Status AddKeys(const GgufReader& reader, std::span<const GgufKey> keys, int64_t layers, Json* config) {
  for (const GgufKey& key : keys) {
    if (key.kind == GgufKey::kHasTensor) {
      if (HasInSomeLayer(reader, key.gguf, layers)) SetPath(config, key.hub, true);
      continue;
    }
    if (!reader.Has(key.gguf)) continue;
    switch (key.kind) {
      case GgufKey::kInt: {
        NIBBLE_TRY(const int64_t value, reader.Uniform(key.gguf));
        // 0 is how GGUF says that there is none.
        if (value != 0) SetPath(config, key.hub, value);
        break;
      }
      case GgufKey::kNumber: {
        NIBBLE_TRY(const double value, reader.Number(key.gguf));
        if (!std::isfinite(value)) return Corrupt("{}: key \"{}\": {}", reader.path(), reader.Key(key.gguf), value);
        SetPath(config, key.hub, value);
        break;
      }
      default: {
        NIBBLE_TRY(const bool value, reader.Bool(key.gguf));
        SetPath(config, key.hub, value);
      }
    }
  }
  return {};
}

// Of a key that holds one number, or one a layer (0 where a layer has no attention) if the architecture has a place for them: the
// greatest.
Result<int64_t> Most(const GgufReader& reader, std::string_view key, bool by_layer, std::optional<int64_t> fallback) {
  NIBBLE_TRY(const std::vector<int64_t> values, reader.Ints(key));
  if (!by_layer || values.empty()) return reader.Positive(key, fallback);
  return reader.CheckPositive(key, *std::max_element(values.begin(), values.end()));
}

Status ReadHeads(const GgufReader& reader, int64_t hidden, GgufModel* model) {
  const GgufArchitecture& row = *model->architecture;
  NIBBLE_TRY(model->heads, Most(reader, "attention.head_count", row.heads_by_layer, std::nullopt));
  NIBBLE_TRY(model->kv_heads, Most(reader, "attention.head_count_kv", row.kv_by_layer, model->heads));
  NIBBLE_TRY(model->head_dim, reader.Positive("attention.key_length", std::max<int64_t>(hidden / model->heads, 1)));
  NIBBLE_TRY(const int64_t value_dim, reader.Positive("attention.value_length", model->head_dim));
  if (model->heads > kMaxHeads || model->kv_heads > model->heads || model->head_dim > kMaxHeadDim || value_dim > kMaxHeadDim)
    return Corrupt("{}: {} heads, {} kv heads, {} elements a head are not possible", reader.path(), model->heads, model->kv_heads,
                   std::max(model->head_dim, value_dim));
  if (model->head_dim % 2 != 0) return Unsupported("{}: heads of {} elements cannot be rotated", reader.path(), model->head_dim);
  model->qkv_rows = {model->heads * model->head_dim, model->kv_heads * model->head_dim, model->kv_heads * value_dim};
  Json& config = model->config;
  config["num_attention_heads"] = model->heads;
  config["num_key_value_heads"] = model->kv_heads;
  config["head_dim"] = model->head_dim;
  if (value_dim != model->head_dim) config["v_head_dim"] = value_dim;
  return {};
}

}  // namespace

Result<GgufModel> ReadGgufModel(const GgufFile& file) {
  NIBBLE_TRY(const std::string name, file.metadata.String("general.architecture"));
  const GgufReader reader(file, name);
  NIBBLE_TRY(const std::string kind, file.metadata.String("general.type", "model"));
  if (kind != "model") return Unsupported("{}: general.type is \"{}\", wanted a model", reader.path(), kind);
  GgufModel model;
  model.architecture = FindGgufArchitecture(reader);
  if (!model.architecture)
    return Unsupported("{}: general.architecture \"{}\" is not supported in GGUF files; supported: {}", reader.path(), name,
                       GgufArchitectureNames());
  const GgufArchitecture& row = *model.architecture;
  Json& config = model.config;
  config = Json::parse(row.config);
  NIBBLE_TRY(const int64_t hidden, reader.Positive("embedding_length"));
  NIBBLE_TRY(model.layers, reader.Positive("block_count"));
  if (model.layers > kMaxLayers) return Corrupt("{}: {} layers are not possible", reader.path(), model.layers);
  NIBBLE_TRY(const int64_t context, reader.Positive("context_length"));
  NIBBLE_TRY(int64_t inter, Most(reader, "feed_forward_length", row.inter_by_layer, 1));
  // Of some families llama.cpp writes four times the hidden size whatever the model has.
  const StoredTensor* down = file.tensors.Find("blk.0.ffn_down.weight");
  if (down && down->shape.rank() == 2) inter = down->shape[1];
  constexpr const char *kEps = "attention.layer_norm_epsilon", *kRmsEps = "attention.layer_norm_rms_epsilon";
  // The converter names it after the hub's key, which for some says layer norm and means RMS norm.
  const bool plain_eps = row.layer_norm || (reader.Has(kEps) && !reader.Has(kRmsEps));
  const char* eps_key = plain_eps ? kEps : kRmsEps;
  NIBBLE_TRY(const double epsilon, reader.Number(eps_key));
  if (!std::isfinite(epsilon) || epsilon < 0) return Corrupt("{}: key \"{}\": {}", reader.path(), reader.Key(eps_key), epsilon);
  NIBBLE_RETURN_IF_ERROR(ReadHeads(reader, hidden, &model));
  NIBBLE_TRY(const int64_t vocabulary, VocabularySize(reader));
  config["architectures"] = Json::array({std::string(row.hub_class)});
  config["model_type"] = std::string(row.model_type);
  config["hidden_size"] = hidden;
  config["num_hidden_layers"] = model.layers;
  config["max_position_embeddings"] = context;
  config["intermediate_size"] = inter;
  config["rms_norm_eps"] = epsilon;
  config["vocab_size"] = vocabulary;
  config["tie_word_embeddings"] = !reader.HasTensor("output.weight");
  if (!config.contains("hidden_act")) config["hidden_act"] = "silu";
  if (!config.contains("attention_bias")) config["attention_bias"] = false;
  if (!config.contains("rope_parameters")) {
    NIBBLE_TRY(Json rope, GgufRopeParameters(reader, model.head_dim, context));
    config["rope_theta"] = rope["rope_theta"];
    config["rope_parameters"] = std::move(rope);
  }
  NIBBLE_RETURN_IF_ERROR(AddKeys(reader, UsualGgufKeys(), model.layers, &config));
  NIBBLE_RETURN_IF_ERROR(AddKeys(reader, row.keys, model.layers, &config));
  if (row.read) NIBBLE_RETURN_IF_ERROR(row.read(reader, &config));
  NIBBLE_RETURN_IF_ERROR(AddTokenIds(file.metadata, config));
  return model;
}

}  // namespace nibble
