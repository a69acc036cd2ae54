// SPDX-License-Identifier: Apache-2.0
// tokenizer.json -> tokenizer.ggml.*: byte-level BPE as "gpt2" with the name of its pattern, SentencePiece-style BPE as "llama"
// with scores.
#include <algorithm>
#include <filesystem>
#include <map>

#include "base/log.h"
#include "io/mapped_file.h"
#include "quantizers/gguf_export.h"
#include "tokenizers/gguf_pre.h"

namespace nibble {
namespace {

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// The parts of a component, itself where it is no sequence.
std::vector<const Json*> Parts(const Json* component, const char* key) {
  std::vector<const Json*> parts;
  if (!component || !component->is_object()) return parts;
  const Json* list = component->value("type", "") == "Sequence" ? JsonFind(*component, key) : nullptr;
  if (!list) return {component};
  for (const Json& part : *list) parts.push_back(&part);
  return parts;
}

// The name of the regular expressions that split words; empty when GGUF has none.
std::string PreName(const Json& tokenizer, bool ignore_merges) {
  std::vector<std::string> patterns;
  for (const Json* part : Parts(JsonFind(tokenizer, "pre_tokenizer"), "pretokenizers")) {
    const std::string type = part->value("type", "");
    if (type == "ByteLevel" && part->value("use_regex", true))
      patterns.emplace_back(FindGgufPreTokenizer("gpt-2")->patterns[0]);
    else if (type == "Digits")
      patterns.push_back(part->value("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)");
    else if (type == "Split" && part->contains("pattern") && (*part)["pattern"].contains("Regex"))
      patterns.push_back((*part)["pattern"]["Regex"].get<std::string>());
    else if (type != "ByteLevel")
      return "";
  }
  std::string names = GgufPreTokenizerNames() + ", ";
  for (size_t at = 0, comma = 0; (comma = names.find(", ", at)) != std::string::npos; at = comma + 2) {
    const GgufPreTokenizer* pre = FindGgufPreTokenizer(names.substr(at, comma - at));
    if (pre && pre->ignore_merges == ignore_merges &&
        std::equal(pre->patterns.begin(), pre->patterns.end(), patterns.begin(), patterns.end()))
      return std::string(pre->name);
  }
  return "";
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::map<std::string, int64_t> ids;
};

Result<Vocabulary> ReadVocabulary(const Json& tokenizer, const Json& model, int64_t rows, const std::string& where) {
  Vocabulary v;
  v.tokens.resize(static_cast<size_t>(rows));
  v.types.assign(static_cast<size_t>(rows), kUnused);
  const auto put = [&](const std::string& token, int64_t id, int32_t type) -> Status {
    if (id < 0 || id >= rows) return Corrupt("{}: token \"{}\" has id {}, the model has {} embeddings", where, token, id, rows);
    v.tokens[static_cast<size_t>(id)] = token;
    v.types[static_cast<size_t>(id)] = type;
    v.ids[token] = id;
    return {};
  };
  const bool bytes = model.value("byte_fallback", false);
  for (const auto& [token, id] : model["vocab"].items()) {
    if (!id.is_number_integer()) return Corrupt("{}: vocab holds no numbers", where);
    const bool byte = bytes && token.size() == 6 && token.starts_with("<0x") && token.back() == '>';
    NIBBLE_RETURN_IF_ERROR(put(token, id.get<int64_t>(), byte ? kByte : kNormal));
  }
  const Json* added = JsonFind(tokenizer, "added_tokens");
  if (added && added->is_array())
    for (const Json& token : *added)
      NIBBLE_RETURN_IF_ERROR(
          put(token.value("content", ""), token.value("id", int64_t{-1}), token.value("special", false) ? kControl : kUserDefined));
  const Json* unknown = JsonFind(model, "unk_token");
  if (unknown && unknown->is_string() && v.ids.count(unknown->get<std::string>()))
    v.types[static_cast<size_t>(v.ids[unknown->get<std::string>()])] = kUnknown;
  for (size_t i = 0; i < v.tokens.size(); ++i)
    if (v.types[i] == kUnused) v.tokens[i] = fmt::format("[PAD{}]", i);
  return v;
}

// "left right" and the token that they make.
std::vector<std::pair<std::string, std::string>> ReadMerges(const Json& model) {
  std::vector<std::pair<std::string, std::string>> merges;
  const Json* list = JsonFind(model, "merges");
  if (!list || !list->is_array()) return merges;
  for (const Json& merge : *list) {
    std::string left, right;
    if (merge.is_array() && merge.size() == 2) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    } else if (merge.is_string()) {
      const std::string text = merge.get<std::string>();
      const size_t space = text.find(' ');
      left = text.substr(0, space);
      right = space == std::string::npos ? "" : text.substr(space + 1);
    }
    merges.emplace_back(left + " " + right, left + right);
  }
  return merges;
}

// A token that comes of an earlier merge has a higher score; letters come last.
std::vector<float> Scores(const Vocabulary& v, const std::vector<std::pair<std::string, std::string>>& merges) {
  std::vector<float> scores(v.tokens.size(), -static_cast<float>(merges.size()) - 1);
  std::vector<bool> scored(v.tokens.size(), false);
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto found = v.ids.find(merges[rank].second);
    if (found == v.ids.end() || scored[static_cast<size_t>(found->second)]) continue;
    scored[static_cast<size_t>(found->second)] = true;
    scores[static_cast<size_t>(found->second)] = -static_cast<float>(rank);
  }
  for (size_t i = 0; i < scores.size(); ++i)
    if (v.types[i] != kNormal) scores[i] = 0;
  return scores;
}

// The token that a post-processor puts in front of a text.
std::string FrontToken(const Json& tokenizer) {
  for (const Json* part : Parts(JsonFind(tokenizer, "post_processor"), "processors")) {
    const Json* single = part->value("type", "") == "TemplateProcessing" ? JsonFind(*part, "single") : nullptr;
    if (single && single->is_array() && !single->empty() && (*single)[0].contains("SpecialToken"))
      return (*single)[0]["SpecialToken"].value("id", "");
  }
  return "";
}

Status WriteSpecial(const std::string& folder, const Json& tokenizer, const Vocabulary& v, GgufMetadataWriter* keys) {
  Json config = Json::object();
  if (std::filesystem::exists(folder + "/tokenizer_config.json")) {
    NIBBLE_TRY(config, ReadJsonFile(folder + "/tokenizer_config.json"));
  }
  const auto name_of = [&](const char* key) -> std::string {
    const Json* value = JsonFind(config, key);
    return !value ? "" : value->is_string() ? value->get<std::string>() : value->is_object() ? value->value("content", "") : "";
  };
  for (const auto& [hub, gguf] : {std::pair("bos_token", "bos"), std::pair("eos_token", "eos"), std::pair("unk_token", "unknown"),
                                  std::pair("pad_token", "padding")}) {
    const auto found = v.ids.find(name_of(hub));
    if (found != v.ids.end()) keys->U32(fmt::format("tokenizer.ggml.{}_token_id", gguf), static_cast<uint32_t>(found->second));
  }
  const std::string front = FrontToken(tokenizer);
  keys->Bool("tokenizer.ggml.add_bos_token", !front.empty() && front == name_of("bos_token"));
  std::string text = name_of("chat_template");
  if (std::filesystem::exists(folder + "/chat_template.jinja")) {
    NIBBLE_TRY(text, ReadTextFile(folder + "/chat_template.jinja"));
  }
  if (!text.empty()) keys->String("tokenizer.chat_template", text);
  return {};
}

}  // namespace

Result<bool> WriteGgufTokenizer(const std::string& hub_folder, int64_t rows, GgufMetadataWriter* keys) {
  const std::string path = hub_folder + "/tokenizer.json";
  const auto without = [&](const std::string& why) {
    Warn("{}: {}; the GGUF file has no tokenizer", path, why);
    return false;
  };
  if (!std::filesystem::exists(path)) return without("not there");
  NIBBLE_TRY(const Json tokenizer, ReadJsonFile(path, int64_t{256} << 20));
  const Json* model = JsonFind(tokenizer, "model");
  if (!model || !model->is_object() || !model->contains("vocab") || !(*model)["vocab"].is_object() ||
      model->value("type", "BPE") != "BPE")
    return without("its model is no BPE");
  bool byte_level = false, space_prefix = false;
  for (const Json* part : Parts(JsonFind(tokenizer, "pre_tokenizer"), "pretokenizers")) {
    byte_level |= part->value("type", "") == "ByteLevel";
    space_prefix |= part->value("type", "") == "Metaspace" && part->value("prepend_scheme", "always") != "never";
  }
  for (const Json* part : Parts(JsonFind(tokenizer, "normalizer"), "normalizers"))
    space_prefix |= part->value("type", "") == "Prepend";
  const std::string pre = byte_level ? PreName(tokenizer, model->value("ignore_merges", false)) : "";
  if (byte_level && pre.empty()) return without("GGUF has no name for the way it splits words");
  if (!byte_level && !model->value("byte_fallback", false)) return without("it is neither byte-level nor SentencePiece-style");
  NIBBLE_TRY(const Vocabulary v, ReadVocabulary(tokenizer, *model, rows, path));
  const auto merges = ReadMerges(*model);
  keys->String("tokenizer.ggml.model", byte_level ? "gpt2" : "llama");
  keys->String("tokenizer.ggml.pre", byte_level ? pre : "default");
  keys->Strings("tokenizer.ggml.tokens", v.tokens);
  keys->I32s("tokenizer.ggml.token_type", v.types);
  if (byte_level) {
    std::vector<std::string> lines;
    for (const auto& merge : merges) lines.push_back(merge.first);
    keys->Strings("tokenizer.ggml.merges", lines);
  } else {
    keys->F32s("tokenizer.ggml.scores", Scores(v, merges));
    keys->Bool("tokenizer.ggml.add_space_prefix", space_prefix);
  }
  NIBBLE_RETURN_IF_ERROR(WriteSpecial(hub_folder, tokenizer, v, keys));
  return true;
}

}  // namespace nibble
