// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/normalizer.h"

#include <functional>
#include <optional>
#include <vector>

#include "tokenizers/byte_level.h"
#include "tokenizers/charsmap.h"
#include "tokenizers/pattern.h"
#include "tokenizers/unicode.h"

namespace nibble {
namespace {

// A Replace or Prepend inside a sequence of many can double a text again and again.
constexpr size_t kMaxTextBytes = size_t{1} << 30;
constexpr size_t kMaxNormalizers = 64;

// A normalizer that is one function.
class NormalizerStep : public Normalizer {
 public:
  using Function = std::function<Result<std::string>(std::string)>;
  explicit NormalizerStep(Function function) : function_(std::move(function)) {}
  Result<std::string> Apply(std::string text) const override { return function_(std::move(text)); }

 private:
  Function function_;
};

class SequenceNormalizer : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  Result<std::string> Apply(std::string text) const override {
    for (const auto& step : steps_) {
      NIBBLE_TRY(text, step->Apply(std::move(text)));
      if (text.size() > kMaxTextBytes) return Fail(Code::kResourceExhausted, "normalized text is over {} bytes", kMaxTextBytes);
    }
    return text;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

// Keeps the characters that `keep` says, mapped by `map` (nullptr: unchanged).
template <typename Keep>
std::string Filter(std::string_view text, Keep keep) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    if (keep(unicode::Next(text, pos))) out.append(text.substr(begin, pos - begin));
  }
  return out;
}

std::string StripSpaces(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    size_t pos = 0;
    if (!unicode::IsSpace(unicode::Next(text, pos))) break;
    text.remove_prefix(pos);
  }
  while (right && !text.empty()) {
    const size_t begin = unicode::Previous(text, text.size());
    size_t pos = begin;
    if (!unicode::IsSpace(unicode::Next(text, pos))) break;
    text.remove_suffix(text.size() - begin);
  }
  return std::string(text);
}

bool IsCjk(char32_t c) {
  const auto in = [c](char32_t low, char32_t high) { return c >= low && c <= high; };
  return in(0x4E00, 0x9FFF) || in(0x3400, 0x4DBF) || in(0x20000, 0x2A6DF) || in(0x2A700, 0x2B73F) || in(0x2B740, 0x2B81F) ||
         in(0x2B920, 0x2CEAF) || in(0xF900, 0xFAFF) || in(0x2F800, 0x2FA1F);
}

struct BertOptions {
  bool clean_text, chinese, strip_accents, lowercase;
};

std::string Bert(std::string text, const BertOptions& options) {
  if (options.clean_text) {
    std::string clean;
    for (size_t pos = 0; pos < text.size();) {
      const char32_t c = unicode::Next(text, pos);
      const bool space = c == '\t' || c == '\n' || c == '\r' || unicode::IsSpace(c);
      if (space && c != 0x0B && c != 0x0C && c != 0x85) {
        clean += ' ';
      } else if (c != 0 && c != unicode::kReplacement && !unicode::IsControl(c)) {
        unicode::Append(c, clean);
      }
    }
    text = std::move(clean);
  }
  if (options.chinese) {
    std::string spaced;
    for (size_t pos = 0; pos < text.size();) {
      const char32_t c = unicode::Next(text, pos);
      if (IsCjk(c)) {
        spaced.append(" ").append(unicode::ToUtf8(c)).append(" ");
      } else {
        unicode::Append(c, spaced);
      }
    }
    text = std::move(spaced);
  }
  if (options.strip_accents) {
    text = Filter(unicode::Normalize(text, unicode::Form::kNfd), [](char32_t c) { return !unicode::IsNonspacingMark(c); });
  }
  return options.lowercase ? unicode::Lower(text) : text;
}

// The control characters and odd spaces that the NMT rules of SentencePiece drop or turn into a space.
std::string Nmt(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = unicode::Next(text, pos);
    if ((c >= 1 && c <= 8) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) continue;
    const bool space = c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 ||
                       c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == unicode::kReplacement;
    unicode::Append(space ? U' ' : c, out);
  }
  return out;
}

Result<std::unique_ptr<Normalizer>> MakeNormalizerStep(NormalizerStep::Function function) {
  return std::make_unique<NormalizerStep>(std::move(function));
}

Result<std::unique_ptr<Normalizer>> MakeForm(unicode::Form form) {
  return MakeNormalizerStep([form](std::string text) -> Result<std::string> { return unicode::Normalize(text, form); });
}

Result<std::unique_ptr<Normalizer>> MakeSequenceNormalizer(const Json& spec, const std::string& where) {
  const Json* list = JsonFind(spec, "normalizers");
  if (!list || !list->is_array()) return Corrupt("{}: Sequence needs the array \"normalizers\"", where);
  if (list->size() > kMaxNormalizers) return Corrupt("{}: {} normalizers, at most {}", where, list->size(), kMaxNormalizers);
  std::vector<std::unique_ptr<Normalizer>> steps;
  for (const Json& item : *list) {
    NIBBLE_TRY(auto step, ParseNormalizer(item, fmt::format("{}[{}]", where, steps.size())));
    steps.push_back(std::move(step));
  }
  return std::make_unique<SequenceNormalizer>(std::move(steps));
}

Result<std::unique_ptr<Normalizer>> MakeReplaceNormalizer(const Json& spec, const std::string& where) {
  const Json* value = JsonFind(spec, "pattern");
  NIBBLE_TRY(auto parsed, TextPattern::Parse(value ? *value : Json(), where));
  NIBBLE_TRY_IN(where, auto content, JsonString(spec, "content"));
  auto pattern = std::make_shared<const TextPattern>(std::move(parsed));
  return MakeNormalizerStep([pattern, content](std::string text) { return pattern->ReplaceAll(text, content); });
}

Result<std::unique_ptr<Normalizer>> MakeBertNormalizer(const Json& spec, const std::string& where) {
  BertOptions options{};
  NIBBLE_TRY_IN(where, options.clean_text, JsonBool(spec, "clean_text", true));
  NIBBLE_TRY_IN(where, options.chinese, JsonBool(spec, "handle_chinese_chars", true));
  NIBBLE_TRY_IN(where, options.lowercase, JsonBool(spec, "lowercase", true));
  NIBBLE_TRY_IN(where, options.strip_accents, JsonBool(spec, "strip_accents", options.lowercase));  // null follows lowercase
  return MakeNormalizerStep([options](std::string text) -> Result<std::string> { return Bert(std::move(text), options); });
}

Result<std::unique_ptr<Normalizer>> MakePrecompiled(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const std::string base64, JsonString(spec, "precompiled_charsmap", ""));
  NIBBLE_TRY(auto parsed, Charsmap::FromBase64(base64, where));
  auto map = std::make_shared<const Charsmap>(std::move(parsed));
  return MakeNormalizerStep(
      [map](std::string text) -> Result<std::string> { return map->empty() ? text : map->ReplaceGraphemes(text); });
}

}  // namespace

Result<std::unique_ptr<Normalizer>> ParseNormalizer(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const std::string type, JsonString(spec, "type"));
  if (type == "Sequence") return MakeSequenceNormalizer(spec, where);
  if (type == "NFC") return MakeForm(unicode::Form::kNfc);
  if (type == "NFD") return MakeForm(unicode::Form::kNfd);
  if (type == "NFKC") return MakeForm(unicode::Form::kNfkc);
  if (type == "NFKD") return MakeForm(unicode::Form::kNfkd);
  if (type == "Replace") return MakeReplaceNormalizer(spec, where);
  if (type == "BertNormalizer") return MakeBertNormalizer(spec, where);
  if (type == "Lowercase") return MakeNormalizerStep([](std::string text) -> Result<std::string> { return unicode::Lower(text); });
  if (type == "Nmt") return MakeNormalizerStep([](std::string text) -> Result<std::string> { return Nmt(text); });
  if (type == "Precompiled") return MakePrecompiled(spec, where);
  if (type == "ByteLevel") {
    return MakeNormalizerStep([](std::string text) -> Result<std::string> {
      std::string out;
      AppendByteLevel(text, out);
      return out;
    });
  }
  if (type == "StripAccents") {
    return MakeNormalizerStep(
        [](std::string text) -> Result<std::string> { return Filter(text, [](char32_t c) { return !unicode::IsMark(c); }); });
  }
  if (type == "Strip") {
    NIBBLE_TRY_IN(where, const bool left, JsonBool(spec, "strip_left", true));
    NIBBLE_TRY_IN(where, const bool right, JsonBool(spec, "strip_right", true));
    return MakeNormalizerStep([left, right](std::string text) -> Result<std::string> { return StripSpaces(text, left, right); });
  }
  if (type == "Prepend") {
    NIBBLE_TRY_IN(where, const auto prefix, JsonString(spec, "prepend"));
    return MakeNormalizerStep([prefix](std::string text) -> Result<std::string> { return text.empty() ? text : prefix + text; });
  }
  return Unsupported(
      "{}: normalizer \"{}\"; known are Sequence NFC NFD NFKC NFKD Lowercase Strip StripAccents Prepend Replace "
      "BertNormalizer Nmt Precompiled ByteLevel",
      where, type);
}

}  // namespace nibble
