// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/gguf_hub_files.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>

#include "tokenizers/gguf_components.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/unicode.h"

namespace nibble {
namespace {

using Merges = std::vector<std::pair<std::string, std::string>>;

// Pairs that join to a token of a higher score come first; of one token, those of earlier left and right ids.
Merges MergesOfScores(const GgufVocab& vocab) {
  std::unordered_map<std::string_view, int32_t> ids;
  for (size_t id = 0; id < vocab.tokens.size(); ++id) ids.emplace(vocab.tokens[id], static_cast<int32_t>(id));
  struct Pair {
    float score;
    int32_t token, left, right;
  };
  std::vector<Pair> pairs;
  for (const auto& [text, id] : ids) {
    for (size_t cut = 0;;) {
      unicode::Next(text, cut);
      if (cut >= text.size()) break;
      const auto left = ids.find(text.substr(0, cut)), right = ids.find(text.substr(cut));
      if (left == ids.end() || right == ids.end()) continue;
      pairs.push_back({vocab.scores[static_cast<size_t>(id)], id, left->second, right->second});
    }
  }
  std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) {
    return std::tuple(-a.score, a.token, a.left, a.right) < std::tuple(-b.score, b.token, b.left, b.right);
  });
  Merges merges;
  merges.reserve(pairs.size());
  for (const Pair& pair : pairs)
    merges.emplace_back(vocab.tokens[static_cast<size_t>(pair.left)], vocab.tokens[static_cast<size_t>(pair.right)]);
  return merges;
}

Result<OrderedJson> ModelJson(const GgufVocab& vocab, const GgufComponents& components, const Tokenizer& tokenizer,
                              const std::string& where) {
  const bool merged = components.kind == GgufComponents::kMerges;
  OrderedJson model = {{"type", "BPE"}, {"dropout", nullptr}};
  model["unk_token"] = nullptr;
  if (!merged) model["unk_token"] = tokenizer.TokenText(static_cast<int32_t>(vocab.unk_id.value_or(0)));
  model["continuing_subword_prefix"] = nullptr;
  model["end_of_word_suffix"] = nullptr;
  model["fuse_unk"] = !merged;
  model["byte_fallback"] = components.byte_fallback;
  model["ignore_merges"] = components.ignore_merges;
  OrderedJson::object_t tokens;  // by id; texts are unique, so no search for each
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.HasToken(id)) tokens.OrderedJson::object_t::Container::emplace_back(tokenizer.TokenText(id), id);
  }
  if (components.kind == GgufComponents::kWordPiece) {
    const std::string unk = vocab.unk_id ? tokenizer.TokenText(static_cast<int32_t>(*vocab.unk_id)) : "[UNK]";
    model = {{"type", "WordPiece"}, {"unk_token", unk}, {"continuing_subword_prefix", "##"}, {"max_input_chars_per_word", 1000}};
    model["vocab"] = std::move(tokens);
    return model;
  }
  model["vocab"] = std::move(tokens);
  NIBBLE_TRY(const Merges merges, merged ? SplitGgufMerges(vocab, where) : Result<Merges>(MergesOfScores(vocab)));
  OrderedJson list = OrderedJson::array();
  for (const auto& [left, right] : merges) list.push_back(OrderedJson::array({left, right}));
  model["merges"] = std::move(list);
  return model;
}

// $A with the tokens that the file's settings put around it.
OrderedJson PostProcessorJson(const Tokenizer& tokenizer) {
  OrderedJson single = OrderedJson::array(), pair = OrderedJson::array(), special = OrderedJson::object();
  const auto put = [&](int32_t id) {
    const std::string& text = tokenizer.TokenText(id);
    single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
    special[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
  };
  for (const int32_t id : tokenizer.ids_before()) put(id);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  for (const int32_t id : tokenizer.ids_behind()) put(id);
  if (special.empty()) return nullptr;
  for (const char* id : {"A", "B"}) pair.push_back({{"Sequence", {{"id", id}, {"type_id", *id == 'B'}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

OrderedJson AddedTokensJson(const Tokenizer& tokenizer) {
  OrderedJson added = OrderedJson::array();
  for (const AddedToken& token : tokenizer.added_tokens()) {
    added.push_back({{"id", token.id},
                     {"content", token.content},
                     {"single_word", token.single_word},
                     {"lstrip", token.lstrip},
                     {"rstrip", token.rstrip},
                     {"normalized", token.normalized},
                     {"special", token.special}});
  }
  return added;
}

}  // namespace

Result<std::vector<std::pair<std::string, std::string>>> HubFilesOfGgufVocab(const GgufVocab& vocab, const std::string& where) {
  NIBBLE_TRY(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::FromGgufVocab(vocab, where));
  if (vocab.model == "t5")
    return Unsupported(
        "{}: a unigram vocabulary is not written as tokenizer.json; copy that of the model that the file was made of", where);
  NIBBLE_TRY(const GgufComponents components, DescribeGgufComponents(vocab, where));
  OrderedJson json = {
      {"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"added_tokens", AddedTokensJson(*tokenizer)}};
  json["normalizer"] = components.normalizer;
  json["pre_tokenizer"] = components.pre_tokenizer;
  json["post_processor"] = PostProcessorJson(*tokenizer);
  json["decoder"] = components.decoder;
  NIBBLE_TRY(json["model"], ModelJson(vocab, components, *tokenizer, where));

  OrderedJson config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  if (tokenizer->bos_id() >= 0) config["bos_token"] = tokenizer->TokenText(tokenizer->bos_id());
  if (!tokenizer->eos_ids().empty()) config["eos_token"] = tokenizer->TokenText(tokenizer->eos_ids().front());
  if (!vocab.chat_template.empty()) config["chat_template"] = vocab.chat_template;

  std::vector<std::pair<std::string, std::string>> files = {{"tokenizer.json", json.dump(1) + "\n"},
                                                            {"tokenizer_config.json", config.dump(2) + "\n"}};
  if (!tokenizer->eos_ids().empty()) {
    OrderedJson generation = {{"eos_token_id", tokenizer->eos_ids()}};
    if (tokenizer->bos_id() >= 0) generation["bos_token_id"] = tokenizer->bos_id();
    files.emplace_back("generation_config.json", generation.dump(2) + "\n");
  }
  return files;
}

}  // namespace nibble
