// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensors/scalar.h"

namespace nibble {
namespace {

// Far above every model; row maps of this size are allocated.
constexpr int64_t kMaxHeads = 8192, kMaxHeadDim = 4096;

class Reader {
 public:
  Reader(const GgufFile& file, std::string architecture) : file_(file), prefix_(std::move(architecture) + ".") {}

  std::string Key(std::string_view name) const { return prefix_ + std::string(name); }
  bool Has(std::string_view name) const { return file_.metadata.Find(Key(name)) != nullptr; }
  Result<int64_t> Int(std::string_view name, std::optional<int64_t> fallback = std::nullopt) const {
    return file_.metadata.Int(Key(name), fallback);
  }
  Result<double> Number(std::string_view name, std::optional<double> fallback = std::nullopt) const {
    return file_.metadata.Number(Key(name), fallback);
  }
  // A key that may be one number or one a layer: all the same, or Unsupported.
  Result<int64_t> Uniform(std::string_view name, std::optional<int64_t> fallback = std::nullopt) const {
    NIBBLE_TRY(const std::vector<int64_t> values, file_.metadata.Ints(Key(name)));
    if (values.empty()) return Int(name, fallback);
    for (const int64_t value : values)
      if (value != values[0])
        return Unsupported("{}: key \"{}\" differs between layers ({} and {}); such models are not supported", path(), Key(name),
                           values[0], value);
    return values[0];
  }
  Result<int64_t> Positive(std::string_view name, std::optional<int64_t> fallback = std::nullopt) const {
    NIBBLE_TRY(const int64_t value, Uniform(name, fallback));
    if (value < 1 || value > int64_t{1} << 31) return Corrupt("{}: key \"{}\": {} is not possible", path(), Key(name), value);
    return value;
  }
  const GgufFile& file() const { return file_; }
  const std::string& path() const { return file_.files[0]->path(); }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

// The frequency divisors of Llama 3.1: 1 for short waves, `factor` for long ones, between them a mix.
float Llama3Divisor(int64_t i, int64_t rotated, double theta, double factor, double low, double high, double original) {
  const double wavelength = 2 * std::numbers::pi * std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(rotated));
  if (wavelength < original / high) return 1;
  if (wavelength > original / low) return static_cast<float>(factor);
  const double smooth = (original / wavelength - low) / (high - low);
  return static_cast<float>(1 / ((1 - smooth) / factor + smooth));
}

// rope_freqs.weight holds those divisors; the hub's config holds the rule. Finds the rule or refuses.
Result<Json> Llama3Rope(const Reader& reader, const StoredTensor& divisors, int64_t rotated, double theta) {
  if (divisors.view.dtype != DType::kF32 || divisors.shape != Shape({rotated / 2}))
    return Corrupt("{}: tensor \"rope_freqs.weight\": {} {}, wanted f32 [{}]", divisors.file, divisors.stored_type,
                   divisors.shape.ToString(), rotated / 2);
  const float factor = LoadScalar(DType::kF32, divisors.view.data, rotated / 2 - 1);  // the longest wave
  NIBBLE_TRY(const int64_t said, reader.Int("rope.scaling.original_context_length", 8192));
  constexpr double kLow = 1, kHigh = 4;
  for (const int64_t original : {said, int64_t{8192}}) {
    bool same = true;
    for (int64_t i = 0; i < rotated / 2; ++i) {
      const float stored = LoadScalar(DType::kF32, divisors.view.data, i);
      const float wanted = Llama3Divisor(i, rotated, theta, factor, kLow, kHigh, static_cast<double>(original));
      same &= std::fabs(stored - wanted) <= 1e-3f * std::fabs(wanted);
    }
    if (same)
      return Json{{"rope_type", "llama3"},
                  {"factor", factor},
                  {"low_freq_factor", kLow},
                  {"high_freq_factor", kHigh},
                  {"original_max_position_embeddings", original}};
  }
  return Unsupported("{}: tensor \"rope_freqs.weight\" does not follow the llama3 rule (factor {}, low 1, high 4)", divisors.file,
                     factor);
}

// rope_parameters of config.json; rope_theta is in it and beside it, for readers of either spelling.
Result<Json> RopeParameters(const Reader& reader, int64_t head_dim, int64_t context) {
  NIBBLE_TRY(const double theta, reader.Number("rope.freq_base", 10000.0));
  NIBBLE_TRY(const int64_t rotated, reader.Positive("rope.dimension_count", head_dim));
  NIBBLE_TRY(const std::string type, reader.file().metadata.String(reader.Key("rope.scaling.type"), "none"));
  Json rope = {{"rope_type", "default"}};
  if (const StoredTensor* divisors = reader.file().tensors.Find("rope_freqs.weight")) {
    NIBBLE_TRY(rope, Llama3Rope(reader, *divisors, rotated, theta));
  } else if (type == "linear" || type == "yarn") {
    NIBBLE_TRY(const double factor, reader.Number("rope.scaling.factor", 1.0));
    if (factor != 1.0 || type == "yarn") rope = {{"rope_type", type}, {"factor", factor}};
    if (type == "yarn") {
      NIBBLE_TRY(const int64_t original, reader.Int("rope.scaling.original_context_length", context));
      rope["original_max_position_embeddings"] = original;
      for (const auto& [key, hub] :
           {std::pair("rope.scaling.yarn_beta_fast", "beta_fast"), std::pair("rope.scaling.yarn_beta_slow", "beta_slow")}) {
        NIBBLE_TRY(const double beta, reader.Number(key, 0.0));
        if (beta > 0) rope[hub] = beta;
      }
    }
  } else if (type != "none") {
    return Unsupported("{}: key \"{}\": \"{}\" is not supported for this architecture; supported: none, linear, yarn",
                       reader.path(), reader.Key("rope.scaling.type"), type);
  }
  rope["rope_theta"] = theta;
  if (rotated != head_dim) rope["partial_rotary_factor"] = static_cast<double>(rotated) / static_cast<double>(head_dim);
  return rope;
}

Status AddExperts(const Reader& reader, int64_t experts, GgufModel& model) {
  Json& config = model.config;
  NIBBLE_TRY(const int64_t used, reader.Positive("expert_used_count"));
  config["num_experts_per_tok"] = used;
  if (model.architecture->moe == "block_sparse_moe") {
    config["num_local_experts"] = experts;
    return {};
  }
  NIBBLE_TRY(const int64_t inter, reader.Positive("expert_feed_forward_length"));
  NIBBLE_TRY(const bool normalized, reader.file().metadata.Bool(reader.Key("expert_weights_norm"), true));
  config["num_experts"] = experts;
  config["moe_intermediate_size"] = inter;
  config["norm_topk_prob"] = normalized;
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = Json::array();
  return {};
}

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

Result<int64_t> VocabularySize(const Reader& reader) {
  const StoredTensor* embedding = reader.file().tensors.Find("token_embd.weight");
  if (embedding && embedding->shape.rank() == 2) return embedding->shape[0];
  if (embedding)
    return Corrupt("{}: tensor \"token_embd.weight\": shape {}, wanted two dimensions", embedding->file,
                   embedding->shape.ToString());
  NIBBLE_TRY(const auto tokens, reader.file().metadata.Strings("tokenizer.ggml.tokens"));
  if (!tokens.empty()) return static_cast<int64_t>(tokens.size());
  return reader.Positive("vocab_size");
}

}  // namespace

Result<GgufModel> ReadGgufModel(const GgufFile& file) {
  NIBBLE_TRY(const std::string name, file.metadata.String("general.architecture"));
  const Reader reader(file, name);
  NIBBLE_TRY(const std::string kind, file.metadata.String("general.type", "model"));
  if (kind != "model") return Unsupported("{}: general.type is \"{}\", wanted a model", reader.path(), kind);
  NIBBLE_TRY(const int64_t experts, reader.Int("expert_count", 0));
  GgufModel model;
  model.architecture = FindGgufArchitecture(name, experts > 0);
  if (!model.architecture)
    return Unsupported("{}: general.architecture \"{}\" is not supported in GGUF files; supported: {}", reader.path(), name,
                       GgufArchitectureNames());

  NIBBLE_TRY(const int64_t hidden, reader.Positive("embedding_length"));
  NIBBLE_TRY(const int64_t layers, reader.Positive("block_count"));
  NIBBLE_TRY(const int64_t context, reader.Positive("context_length"));
  NIBBLE_TRY(const int64_t inter, reader.Positive("feed_forward_length", 1));
  NIBBLE_TRY(const double epsilon, reader.Number("attention.layer_norm_rms_epsilon"));
  NIBBLE_TRY(model.heads, reader.Positive("attention.head_count"));
  NIBBLE_TRY(model.kv_heads, reader.Positive("attention.head_count_kv", model.heads));
  NIBBLE_TRY(model.head_dim, reader.Positive("attention.key_length", std::max<int64_t>(hidden / model.heads, 1)));
  NIBBLE_TRY(const int64_t value_dim, reader.Positive("attention.value_length", model.head_dim));
  if (value_dim != model.head_dim)
    return Unsupported("{}: key_length {} and value_length {} differ", reader.path(), model.head_dim, value_dim);
  if (model.heads > kMaxHeads || model.kv_heads > model.heads || model.head_dim > kMaxHeadDim)
    return Corrupt("{}: {} heads, {} kv heads, {} elements a head are not possible", reader.path(), model.heads, model.kv_heads,
                   model.head_dim);
  if (!std::isfinite(epsilon) || epsilon < 0)
    return Corrupt("{}: key \"{}\": {}", reader.path(), reader.Key("attention.layer_norm_rms_epsilon"), epsilon);
  if (model.head_dim % 2 != 0) return Unsupported("{}: heads of {} elements cannot be rotated", reader.path(), model.head_dim);
  NIBBLE_TRY(const int64_t vocabulary, VocabularySize(reader));
  NIBBLE_TRY(Json rope, RopeParameters(reader, model.head_dim, context));

  Json& config = model.config;
  config["architectures"] = Json::array({std::string(model.architecture->hub_class)});
  config["model_type"] = std::string(model.architecture->model_type);
  config["hidden_size"] = hidden;
  config["num_hidden_layers"] = layers;
  config["max_position_embeddings"] = context;
  config["intermediate_size"] = inter;
  // The nearest double of the float in the file reads back as it: 1e-05 and not 9.99999974e-06.
  config["rms_norm_eps"] = std::stod(fmt::format("{}", static_cast<float>(epsilon)));
  config["num_attention_heads"] = model.heads;
  config["num_key_value_heads"] = model.kv_heads;
  config["head_dim"] = model.head_dim;
  config["vocab_size"] = vocabulary;
  config["hidden_act"] = "silu";
  config["tie_word_embeddings"] = file.tensors.Find("output.weight") == nullptr;
  config["attention_bias"] = file.tensors.Find("blk.0.attn_q.bias") != nullptr;
  config["rope_theta"] = rope["rope_theta"];
  config["rope_parameters"] = std::move(rope);
  if (reader.Has("attention.sliding_window")) {
    NIBBLE_TRY(const int64_t window, reader.Int("attention.sliding_window"));
    if (window > 0) config["sliding_window"] = window;
  }
  if (experts > 0) NIBBLE_RETURN_IF_ERROR(AddExperts(reader, experts, model));
  NIBBLE_RETURN_IF_ERROR(AddTokenIds(file.metadata, config));
  return model;
}

}  // namespace nibble
