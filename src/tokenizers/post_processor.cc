// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/post_processor.h"

namespace nibble {
namespace {

constexpr size_t kMaxProcessors = 64;
constexpr size_t kMaxAddedIds = 4096;

Result<int32_t> ReadId(const Json& id, const std::string& where) {
  if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= INT32_MAX)
    return Corrupt("{}: a token id must be an integer from 0", where);
  return id.get<int32_t>();
}

// "sep": ["</s>", 2]
Result<int32_t> ReadTokenPair(const Json& spec, const char* key, const std::string& where) {
  const Json* pair = JsonFind(spec, key);
  if (!pair || !pair->is_array() || pair->size() != 2) return Corrupt("{}: \"{}\" must be [token, id]", where, key);
  return ReadId((*pair)[1], where);
}

Result<PostProcessor> ReadTemplate(const Json& spec, const std::string& where) {
  const Json* single = JsonFind(spec, "single");
  const Json* tokens = JsonFind(spec, "special_tokens");
  if (!single || !single->is_array()) return Corrupt("{}: TemplateProcessing needs the array \"single\"", where);
  PostProcessor out;
  int sequences = 0;
  for (const Json& item : *single) {
    if (JsonFind(item, "Sequence")) {
      ++sequences;
      continue;
    }
    const Json* special = JsonFind(item, "SpecialToken");
    if (!special) return Corrupt("{}: an item of \"single\" is neither Sequence nor SpecialToken", where);
    NIBBLE_TRY_IN(where, const auto name, JsonString(*special, "id"));
    const Json* known = tokens ? JsonFind(*tokens, name) : nullptr;
    const Json* ids = known ? JsonFind(*known, "ids") : nullptr;
    if (!ids || !ids->is_array())
      return Corrupt("{}: special token \"{}\" of \"single\" has no ids in \"special_tokens\"", where, name);
    for (const Json& value : *ids) {
      NIBBLE_TRY(const int32_t id, ReadId(value, where));
      (sequences ? out.after : out.before).push_back(id);
    }
  }
  if (sequences != 1) return Corrupt("{}: \"single\" holds the text {} times, wanted once", where, sequences);
  return out;
}

}  // namespace

Result<PostProcessor> ParsePostProcessor(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const std::string type, JsonString(spec, "type"));
  PostProcessor out;
  if (type == "ByteLevel") return out;  // moves offsets only
  if (type == "TemplateProcessing") return ReadTemplate(spec, where);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    NIBBLE_TRY(const int32_t cls, ReadTokenPair(spec, "cls", where));
    NIBBLE_TRY(const int32_t sep, ReadTokenPair(spec, "sep", where));
    out.before = {cls};
    out.after = {sep};
    return out;
  }
  if (type != "Sequence") {
    return Unsupported(
        "{}: post-processor \"{}\"; known are TemplateProcessing ByteLevel RobertaProcessing BertProcessing Sequence", where, type);
  }
  const Json* list = JsonFind(spec, "processors");
  if (!list || !list->is_array()) return Corrupt("{}: Sequence needs the array \"processors\"", where);
  if (list->size() > kMaxProcessors) return Corrupt("{}: {} processors, at most {}", where, list->size(), kMaxProcessors);
  for (const Json& item : *list) {
    NIBBLE_TRY(const auto step, ParsePostProcessor(item, where));
    out.before.insert(out.before.begin(), step.before.begin(), step.before.end());
    out.after.insert(out.after.end(), step.after.begin(), step.after.end());
    if (out.before.size() + out.after.size() > kMaxAddedIds)
      return Corrupt("{}: adds over {} ids to each text", where, kMaxAddedIds);
  }
  return out;
}

}  // namespace nibble
