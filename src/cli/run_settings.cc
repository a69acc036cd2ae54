// SPDX-License-Identifier: Apache-2.0
#include "cli/run_settings.h"

#include <algorithm>
#include <limits>

namespace nibble {
namespace {

// nibble's own, for models that say nothing.
constexpr SamplingParams kDefaults = {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};
constexpr const char* kKeys[] = {"temperature", "top_k", "top_p", "min_p", "repetition_penalty", "do_sample"};
// Ends of a turn that some models' eos leaves out. Not "<|end|>": with gpt-oss it ends a part of an answer.
constexpr const char* kTurnEnds[] = {"<|im_end|>", "<|eot_id|>", "<|eot|>", "<end_of_turn>", "<turn|>"};

Result<SamplingParams> ModelSampling(const Json& config) {
  const std::string where = "generation_config.json";
  SamplingParams params = {.temperature = 1, .top_k = 50};
  NIBBLE_TRY_IN(where, const bool sample, JsonBool(config, "do_sample", true));
  NIBBLE_TRY_IN(where, const double temperature, JsonNumber(config, "temperature", 1.0));
  NIBBLE_TRY_IN(where, params.top_k, JsonInt(config, "top_k", params.top_k));
  NIBBLE_TRY_IN(where, const double top_p, JsonNumber(config, "top_p", 1.0));
  NIBBLE_TRY_IN(where, const double min_p, JsonNumber(config, "min_p", 0.0));
  NIBBLE_TRY_IN(where, const double penalty, JsonNumber(config, "repetition_penalty", 1.0));
  params.temperature = sample ? static_cast<float>(temperature) : 0;
  params.top_p = static_cast<float>(top_p);
  params.min_p = static_cast<float>(min_p);
  params.repeat_penalty = static_cast<float>(penalty);
  params.repeat_window = std::numeric_limits<int64_t>::max();  // transformers' looks at the whole text
  if (params.top_k < 0) params.top_k = 0;                      // -1 as another spelling of "all"
  return params;
}

void AppendIds(const Json& json, std::vector<int32_t>& ids) {
  const Json* value = JsonFind(json, "eos_token_id");
  if (!value) return;
  for (const Json& id : value->is_array() ? *value : Json::array({*value}))
    if (id.is_number_integer()) ids.push_back(id.get<int32_t>());
}

}  // namespace

Result<ChosenSampling> ChooseSampling(const SamplingFlags& flags, const Json& generation_config) {
  ChosenSampling chosen = {kDefaults, "nibble's defaults"};
  const bool given =
      std::any_of(std::begin(kKeys), std::end(kKeys), [&](const char* key) { return JsonFind(generation_config, key); });
  if (given) {
    NIBBLE_TRY(chosen.params, ModelSampling(generation_config));
    chosen.source = "generation_config.json";
  }
  SamplingParams& params = chosen.params;
  params.temperature = flags.temperature.value_or(params.temperature);
  params.top_k = flags.top_k.value_or(params.top_k);
  params.top_p = flags.top_p.value_or(params.top_p);
  params.min_p = flags.min_p.value_or(params.min_p);
  params.repeat_penalty = flags.repeat_penalty.value_or(params.repeat_penalty);
  params.seed = flags.seed;
  if (flags.temperature || flags.top_k || flags.top_p || flags.min_p || flags.repeat_penalty)
    chosen.source = "flags, then " + chosen.source;
  return chosen;
}

std::string DescribeSampling(const ChosenSampling& sampling) {
  const SamplingParams& p = sampling.params;
  std::string text = p.temperature == 0 ? "always the best token" : fmt::format("temperature {}", p.temperature);
  if (p.temperature > 0 && p.top_k > 0) text += fmt::format(", top-k {}", p.top_k);
  if (p.temperature > 0 && p.top_p < 1) text += fmt::format(", top-p {}", p.top_p);
  if (p.temperature > 0 && p.min_p > 0) text += fmt::format(", min-p {}", p.min_p);
  if (p.repeat_penalty != 1) text += fmt::format(", repeat penalty {}", p.repeat_penalty);
  return fmt::format("{} ({})", text, sampling.source);
}

ChosenStops ChooseStops(const Json& generation_config, const Json& config, const Tokenizer* tokenizer,
                        const std::string& chat_template) {
  ChosenStops stops;
  AppendIds(generation_config, stops.ids);
  std::string source = stops.ids.empty() ? "config.json" : "generation_config.json";
  if (stops.ids.empty()) AppendIds(config, stops.ids);
  if (stops.ids.empty()) source.clear();
  const auto add = [&](int32_t id, const char* from) {
    if (id < 0 || std::find(stops.ids.begin(), stops.ids.end(), id) != stops.ids.end()) return;
    stops.ids.push_back(id);
    if (source.find(from) == std::string::npos) source.append(source.empty() ? "" : ", ").append(from);
  };
  if (tokenizer) {
    for (const int32_t id : tokenizer->eos_ids()) add(id, "tokenizer");
    for (const char* text : kTurnEnds) {
      const int32_t id = chat_template.find(text) == std::string::npos ? -1 : tokenizer->FindToken(text);
      if (id >= 0 && tokenizer->IsSpecial(id)) add(id, "chat template");
    }
  }
  for (const int32_t id : stops.ids) {
    const std::string text = tokenizer && tokenizer->HasToken(id) ? tokenizer->TokenText(id) : "id";
    stops.text += fmt::format("{}{} {}", stops.text.empty() ? "" : ", ", text, id);
  }
  stops.text = stops.ids.empty() ? "no token (the model names none)" : fmt::format("{} ({})", stops.text, source);
  return stops;
}

}  // namespace nibble
