// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/pre_tokenizer.h"

#include <functional>
#include <optional>

#include "tokenizers/byte_level.h"
#include "tokenizers/pattern.h"
#include "tokenizers/split.h"
#include "tokenizers/unicode.h"

namespace nibble {
namespace {

constexpr size_t kMaxPreTokenizers = 64;
constexpr std::string_view kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class SequencePreTokenizer : public PreTokenizer {
 public:
  explicit SequencePreTokenizer(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}
  Status Apply(Words& words) const override {
    for (const auto& step : steps_) NIBBLE_RETURN_IF_ERROR(step->Apply(words));
    return {};
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

class PatternSplit : public PreTokenizer {
 public:
  PatternSplit(TextPattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  Status Apply(Words& words) const override {
    std::vector<Words::Range> out;
    std::vector<Regex::Match> matches;
    for (const auto& range : words.ranges) {
      NIBBLE_RETURN_IF_ERROR(pattern_.FindAll(words.Word(range), matches));
      SplitRange(range, matches, behavior_, invert_, out);
    }
    words.ranges = std::move(out);
    return {};
  }

 private:
  TextPattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Every character that satisfies the predicate is a match.
class CharSplit : public PreTokenizer {
 public:
  using Predicate = std::function<bool(char32_t)>;
  CharSplit(Predicate predicate, SplitBehavior behavior) : predicate_(std::move(predicate)), behavior_(behavior) {}
  Status Apply(Words& words) const override {
    std::vector<Words::Range> out;
    std::vector<Regex::Match> matches;
    for (const auto& range : words.ranges) {
      const std::string_view word = words.Word(range);
      matches.clear();
      for (size_t pos = 0; pos < word.size();) {
        const size_t begin = pos;
        if (predicate_(unicode::Next(word, pos))) matches.push_back({begin, pos});
      }
      SplitRange(range, matches, behavior_, false, out);
    }
    words.ranges = std::move(out);
    return {};
  }

 private:
  Predicate predicate_;
  SplitBehavior behavior_;
};

class ByteLevelPreTokenizer : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, std::optional<TextPattern> pattern)
      : add_prefix_space_(add_prefix_space), pattern_(std::move(pattern)) {}
  Status Apply(Words& words) const override {
    if (add_prefix_space_) PrependSpaces(words);
    std::vector<Words::Range> cut;
    std::vector<Regex::Match> matches;
    for (const auto& range : words.ranges) {
      if (!pattern_) break;
      NIBBLE_RETURN_IF_ERROR(pattern_->FindAll(words.Word(range), matches));
      SplitRange(range, matches, SplitBehavior::kIsolated, false, cut);
    }
    if (pattern_) words.ranges = std::move(cut);
    std::string text;
    text.reserve(2 * words.text.size());
    for (auto& range : words.ranges) {
      const size_t begin = text.size();
      AppendByteLevel(words.Word(range), text);
      range = {begin, text.size(), range.at_start};
    }
    words.text = std::move(text);
    return {};
  }

 private:
  static void PrependSpaces(Words& words) {
    std::string text;
    for (auto& range : words.ranges) {
      const std::string_view word = words.Word(range);
      const size_t begin = text.size();
      if (!word.starts_with(' ')) text += ' ';
      text += word;
      range = {begin, text.size(), range.at_start};
    }
    words.text = std::move(text);
  }

  bool add_prefix_space_;
  std::optional<TextPattern> pattern_;
};

enum class PrependScheme : unsigned char { kAlways, kFirst, kNever };

class MetaspacePreTokenizer : public PreTokenizer {
 public:
  MetaspacePreTokenizer(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {}
  Status Apply(Words& words) const override {
    Words out;
    std::vector<Regex::Match> matches;
    for (const auto& range : words.ranges) {
      const size_t begin = out.text.size();
      const std::string_view word = words.Word(range);
      const bool prepend = scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && range.at_start);
      if (prepend && !word.starts_with(' ') && !word.starts_with(replacement_)) out.text += replacement_;
      for (const char c : word) {
        if (c == ' ') {
          out.text += replacement_;
        } else {
          out.text += c;
        }
      }
      const Words::Range whole = {begin, out.text.size(), range.at_start};
      matches.clear();
      const std::string_view added = out.Word(whole);
      for (size_t at = added.find(replacement_); split_ && at != added.npos;
           at = added.find(replacement_, at + replacement_.size())) {
        matches.push_back({at, at + replacement_.size()});
      }
      SplitRange(whole, matches, SplitBehavior::kMergedWithNext, false, out.ranges);
    }
    words = std::move(out);
    return {};
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

constexpr std::string_view kScripts =  // of Unicode 14, without Common, and Han with its kanas
    "Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki Bopomofo "
    "Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Coptic "
    "Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan "
    "Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi Gurmukhi Hangul Hanifi_Rohingya Hanunoo "
    "Hatran Hebrew Imperial_Aramaic Inherited Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Kayah_Li "
    "Kharoshthi Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian "
    "Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui "
    "Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nandinagari New_Tai_Lue Newa Nko "
    "Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian "
    "Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa "
    "Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sogdian "
    "Sora_Sompeng Soyombo Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut "
    "Telugu Thaana Thai Tibetan Tifinagh Tirhuta Toto Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square";

// A run of one script; spaces and unassigned characters belong to the run before them, and are dropped where none is.
std::string ScriptRuns() {
  const auto run = [](std::string_view script) { return fmt::format("|[{0}][{0} \\p{{sc:Unknown}}]*", script); };
  std::string pattern = R"((?![ \x{30FC}])\p{sc:Common}(?:(?!\x{30FC})[\p{sc:Common}\p{sc:Unknown}])*)";
  pattern += run(R"(\p{sc:Han}\p{sc:Hiragana}\p{sc:Katakana}\x{30FC})");
  for (size_t at = 0; at < kScripts.size();) {
    const size_t end = std::min(kScripts.find(' ', at), kScripts.size());
    pattern += run(fmt::format("\\p{{sc:{}}}", kScripts.substr(at, end - at)));
    at = end + 1;
  }
  return pattern;
}

// Cuts after every `length` characters.
class FixedLength : public PreTokenizer {
 public:
  explicit FixedLength(int64_t length) : length_(length) {}
  Status Apply(Words& words) const override {
    std::vector<Words::Range> out;
    for (const auto& range : words.ranges) {
      const std::string_view word = words.Word(range);
      for (size_t begin = 0, pos = 0; begin < word.size(); begin = pos) {
        for (int64_t i = 0; i < length_ && pos < word.size(); ++i) unicode::Next(word, pos);
        out.push_back({range.begin + begin, range.begin + pos, range.at_start && begin == 0});
      }
    }
    words.ranges = std::move(out);
    return {};
  }

 private:
  int64_t length_;
};

bool IsBertPunctuation(char32_t c) {
  const bool ascii = (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  return ascii || unicode::IsPunctuation(c);
}

using MadePreTokenizer = Result<std::unique_ptr<PreTokenizer>>;

MadePreTokenizer MakeSequencePreTokenizer(const Json& spec, const std::string& where) {
  const Json* list = JsonFind(spec, "pretokenizers");
  if (!list || !list->is_array()) return Corrupt("{}: Sequence needs the array \"pretokenizers\"", where);
  if (list->size() > kMaxPreTokenizers) return Corrupt("{}: {} pre-tokenizers, at most {}", where, list->size(), kMaxPreTokenizers);
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  for (const Json& item : *list) {
    NIBBLE_TRY(auto step, ParsePreTokenizer(item, fmt::format("{}[{}]", where, steps.size())));
    steps.push_back(std::move(step));
  }
  return std::make_unique<SequencePreTokenizer>(std::move(steps));
}

MadePreTokenizer MakeSplit(const Json& spec, const std::string& where) {
  const Json* value = JsonFind(spec, "pattern");
  NIBBLE_TRY(auto pattern, TextPattern::Parse(value ? *value : Json(), where));
  NIBBLE_TRY_IN(where, const auto name, JsonString(spec, "behavior"));
  NIBBLE_TRY(const auto behavior, ParseSplitBehavior(name, where));
  NIBBLE_TRY_IN(where, const bool invert, JsonBool(spec, "invert", false));
  return std::make_unique<PatternSplit>(std::move(pattern), behavior, invert);
}

MadePreTokenizer MakeByteLevel(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const bool add_prefix_space, JsonBool(spec, "add_prefix_space", true));
  NIBBLE_TRY_IN(where, const bool use_regex, JsonBool(spec, "use_regex", true));
  std::optional<TextPattern> pattern;
  if (use_regex) {
    NIBBLE_TRY(pattern, TextPattern::FromRegex(kGpt2Pattern, where));
  }
  return std::make_unique<ByteLevelPreTokenizer>(add_prefix_space, std::move(pattern));
}

MadePreTokenizer MakeMetaspacePreTokenizer(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const auto replacement, JsonString(spec, "replacement", "\u2581"));
  if (replacement.empty() || replacement == " ")
    return Corrupt("{}: replacement \"{}\" is not one visible character", where, replacement);
  NIBBLE_TRY_IN(where, const bool add_prefix_space, JsonBool(spec, "add_prefix_space", true));
  NIBBLE_TRY_IN(where, const auto scheme, JsonString(spec, "prepend_scheme", add_prefix_space ? "always" : "never"));
  NIBBLE_TRY_IN(where, const bool split, JsonBool(spec, "split", true));
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    return Corrupt("{}: prepend_scheme \"{}\", wanted always, first or never", where, scheme);
  }
  const auto kind = scheme == "always" ? PrependScheme::kAlways : scheme == "first" ? PrependScheme::kFirst : PrependScheme::kNever;
  return std::make_unique<MetaspacePreTokenizer>(replacement, kind, split);
}

MadePreTokenizer MakeCharSplit(CharSplit::Predicate predicate, SplitBehavior behavior) {
  return std::make_unique<CharSplit>(std::move(predicate), behavior);
}

MadePreTokenizer MakeCharDelimiter(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const auto delimiter, JsonString(spec, "delimiter"));
  if (unicode::Length(delimiter) != 1) return Corrupt("{}: delimiter \"{}\" is not one character", where, delimiter);
  size_t pos = 0;
  const char32_t wanted = unicode::Next(delimiter, pos);
  return MakeCharSplit([wanted](char32_t c) { return c == wanted; }, SplitBehavior::kRemoved);
}

MadePreTokenizer MakeBertPreTokenizer() {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  steps.push_back(std::make_unique<CharSplit>(unicode::IsSpace, SplitBehavior::kRemoved));
  steps.push_back(std::make_unique<CharSplit>(IsBertPunctuation, SplitBehavior::kIsolated));
  return std::make_unique<SequencePreTokenizer>(std::move(steps));
}

}  // namespace

Result<std::unique_ptr<PreTokenizer>> ParsePreTokenizer(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const std::string type, JsonString(spec, "type"));
  if (type == "Sequence") return MakeSequencePreTokenizer(spec, where);
  if (type == "Split") return MakeSplit(spec, where);
  if (type == "ByteLevel") return MakeByteLevel(spec, where);
  if (type == "Metaspace") return MakeMetaspacePreTokenizer(spec, where);
  if (type == "BertPreTokenizer") return MakeBertPreTokenizer();
  if (type == "CharDelimiterSplit") return MakeCharDelimiter(spec, where);
  if (type == "WhitespaceSplit") return MakeCharSplit(unicode::IsSpace, SplitBehavior::kRemoved);
  if (type == "Digits") {
    NIBBLE_TRY_IN(where, const bool individual, JsonBool(spec, "individual_digits", false));
    return MakeCharSplit(unicode::IsNumeric, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    NIBBLE_TRY_IN(where, const auto name, JsonString(spec, "behavior", "Isolated"));
    NIBBLE_TRY(const auto behavior, ParseSplitBehavior(name, where));
    return MakeCharSplit(IsBertPunctuation, behavior);
  }
  if (type == "Whitespace") {
    // \w as Rust has it, which is not what a Split's \w means.
    constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D})";
    NIBBLE_TRY(auto pattern, TextPattern::FromRegex(fmt::format("[{0}]+|[^{0}\\s]+", kWord), where));
    return std::make_unique<PatternSplit>(std::move(pattern), SplitBehavior::kRemoved, true);
  }
  if (type == "UnicodeScripts") {
    NIBBLE_TRY(auto pattern, TextPattern::FromRegex(ScriptRuns(), where));
    return std::make_unique<PatternSplit>(std::move(pattern), SplitBehavior::kRemoved, true);
  }
  if (type == "FixedLength") {
    NIBBLE_TRY_IN(where, const int64_t length, JsonInt(spec, "length", 5));
    if (length < 1) return Corrupt("{}: length {}, wanted 1 or more", where, length);
    return std::make_unique<FixedLength>(length);
  }
  return Unsupported(
      "{}: pre-tokenizer \"{}\"; known are Sequence ByteLevel Split Digits Punctuation Whitespace WhitespaceSplit "
      "CharDelimiterSplit Metaspace BertPreTokenizer UnicodeScripts FixedLength",
      where, type);
}

}  // namespace nibble
