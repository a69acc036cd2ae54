// SPDX-License-Identifier: Apache-2.0
// Methods of texts.
#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "tokenizers/jinja/library.h"
#include "tokenizers/unicode.h"

namespace nibble::jinja {
namespace {

using Table = std::unordered_map<std::string_view, Method>;

bool IsPythonSpace(char32_t c) { return unicode::IsSpace(c) || (c >= 0x1C && c <= 0x1F); }

// strip, lstrip, rstrip: the characters of `set`, or white space when it is None.
std::string_view StripText(std::string_view text, const Value& set, bool left, bool right) {
  const auto drops = [&](std::string_view character) {
    size_t pos = 0;
    return set.IsNone() ? IsPythonSpace(unicode::Next(character, pos)) : set.Str().find(character) != std::string::npos;
  };
  while (left && !text.empty()) {
    size_t pos = 0;
    unicode::Next(text, pos);
    if (!drops(text.substr(0, pos))) break;
    text.remove_prefix(pos);
  }
  while (right && !text.empty()) {
    const size_t begin = unicode::Previous(text, text.size());
    if (!drops(text.substr(begin))) break;
    text = text.substr(0, begin);
  }
  return text;
}

template <bool left, bool right>
Result<Value> Strip(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("strip", arguments, {{"chars", None{}}}));
  if (!values[0].IsNone() && !values[0].IsString()) return Corrupt("strip arg must be None or str");
  if (values[0].IsString())
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().Spend(values[0].Size() * std::min<size_t>(self.Size(), 1 << 20)));
  return MakeText(interpreter.budget(), std::string(StripText(self.Str(), values[0], left, right)));
}

// Pieces between white space; at most `limit` cuts (below 0: all), counted from the right when `backwards`.
std::vector<std::string_view> SplitSpaces(std::string_view text, int64_t limit, bool backwards) {
  std::vector<std::string_view> pieces;
  const Value none = None{};
  text = StripText(text, none, !backwards, backwards);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<int64_t>(pieces.size()) >= limit) {
      pieces.push_back(StripText(text, none, backwards, !backwards && false));
      break;
    }
    size_t edge = backwards ? text.size() : 0;
    while (backwards ? edge > 0 : edge < text.size()) {
      size_t next = backwards ? unicode::Previous(text, edge) : edge, pos = next;
      if (IsPythonSpace(unicode::Next(text, pos))) break;
      edge = backwards ? next : pos;
    }
    pieces.push_back(backwards ? text.substr(edge) : text.substr(0, edge));
    text = backwards ? text.substr(0, edge) : text.substr(edge);
    text = StripText(text, none, !backwards, backwards);
  }
  if (backwards) std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

std::vector<std::string_view> SplitAt(std::string_view text, std::string_view separator, int64_t limit, bool backwards) {
  std::vector<std::string_view> pieces;
  while (limit < 0 || static_cast<int64_t>(pieces.size()) < limit) {
    const size_t at = backwards ? text.rfind(separator) : text.find(separator);
    if (at == text.npos) break;
    pieces.push_back(backwards ? text.substr(at + separator.size()) : text.substr(0, at));
    text = backwards ? text.substr(0, at) : text.substr(at + separator.size());
  }
  pieces.push_back(text);
  if (backwards) std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

Result<Value> Pieces(Interpreter& interpreter, const std::vector<std::string_view>& pieces, List::Type type = List::Type::kList) {
  std::vector<Value> items;
  NIBBLE_RETURN_IF_ERROR(interpreter.budget().Allocate(pieces.size() * (sizeof(Value) + 64)));
  for (const auto piece : pieces) {
    NIBBLE_TRY(auto value, MakeText(interpreter.budget(), std::string(piece)));
    items.push_back(std::move(value));
  }
  return MakeList(interpreter.budget(), std::move(items), type);
}

template <bool backwards>
Result<Value> Split(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("split", arguments, {{"sep", None{}}, {"maxsplit", Value(-1)}}));
  NIBBLE_TRY(const int64_t limit, ToInteger("split", values[1]));
  if (values[0].IsNone()) return Pieces(interpreter, SplitSpaces(self.Str(), limit, backwards));
  NIBBLE_TRY(const std::string separator, ToText("split", values[0]));
  if (separator.empty()) return Corrupt("empty separator");
  return Pieces(interpreter, SplitAt(self.Str(), separator, limit, backwards));
}

Result<Value> SplitLines(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("splitlines", arguments, {{"keepends", Value(false)}}));
  std::vector<std::string_view> lines;
  const std::string_view text = self.Str();
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t at = pos;
    const char32_t c = unicode::Next(text, pos);
    const bool ends = (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!ends) continue;
    if (c == '\r' && pos < text.size() && text[pos] == '\n') ++pos;
    lines.push_back(text.substr(begin, (values[0].Truth() ? pos : at) - begin));
    begin = pos;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return Pieces(interpreter, lines);
}

template <bool at_start>
Result<Value> StartsEnds(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const char* name = at_start ? "startswith" : "endswith";
  NIBBLE_TRY(const auto values, Bind(name, arguments, {{"prefix", std::nullopt}}));
  const auto matches = [&](const Value& affix) {
    return at_start ? self.Str().starts_with(affix.Str()) : self.Str().ends_with(affix.Str());
  };
  if (values[0].IsString()) return Value(matches(values[0]));
  const List* list = values[0].AsList();
  if (!list || list->type != List::Type::kTuple)
    return Corrupt("{} first arg must be str or a tuple of str, not {}", name, TypeName(values[0]));
  for (const Value& affix : list->items) {
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().Spend());
    if (!affix.IsString()) return Corrupt("tuple for {} must only contain str, not {}", name, TypeName(affix));
    if (matches(affix)) return Value(true);
  }
  return Value(false);
}

Result<Value> ReplaceMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("replace", arguments, {{"old", std::nullopt}, {"new", std::nullopt}, {"count", Value(-1)}}));
  NIBBLE_TRY(const std::string from, ToText("replace", values[0]));
  NIBBLE_TRY(const std::string to, ToText("replace", values[1]));
  NIBBLE_TRY(int64_t count, ToInteger("replace", values[2]));
  const std::string_view text = self.Str();
  std::string out;
  for (size_t pos = 0; pos <= text.size();) {
    const size_t at = count == 0 ? text.npos : from.empty() ? pos : text.find(from, pos);
    if (at == text.npos) {
      out += text.substr(pos);
      break;
    }
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().Allocate(to.size() + at - pos + 1));
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().CheckOutput(out.size()));
    out.append(text.substr(pos, at - pos)).append(to);
    --count;
    pos = at + from.size();
    if (!from.empty()) continue;
    // An empty text is found before every character and at the end.
    if (pos == text.size()) break;
    unicode::Next(text, pos);
    out += text.substr(at, pos - at);
  }
  return MakeText(interpreter.budget(), std::move(out));
}

Result<Value> Upper(Interpreter& interpreter, const Value& self, const Arguments&) {
  return MakeText(interpreter.budget(), unicode::Upper(self.Str()));
}
Result<Value> Lower(Interpreter& interpreter, const Value& self, const Arguments&) {
  return MakeText(interpreter.budget(), unicode::Lower(self.Str()));
}

// title: a capital after everything that is not a letter; capitalize: at the start only.
template <bool every_word>
Result<Value> Capitalize(Interpreter& interpreter, const Value& self, const Arguments&) {
  std::string out;
  bool first = true;
  for (size_t pos = 0; pos < self.Str().size();) {
    const std::string character = unicode::ToUtf8(unicode::Next(self.Str(), pos));
    size_t at = 0;
    const char32_t c = unicode::Next(character, at);
    out += first ? unicode::Upper(character) : unicode::Lower(character);
    first = every_word && !unicode::IsCased(c);
  }
  return MakeText(interpreter.budget(), std::move(out));
}

Result<Value> JoinMethod(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("join", arguments, {{"iterable", std::nullopt}}));
  NIBBLE_TRY(const auto items, Iterate(interpreter.budget(), values[0]));
  std::string out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    const Value& item = items->items[i];
    if (!item.IsString()) return Corrupt("sequence item {}: expected str instance, {} found", i, TypeName(item));
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().Allocate(item.Size() + self.Size()));
    if (i > 0) out += self.Str();
    out += item.Str();
  }
  return MakeText(interpreter.budget(), std::move(out));
}

// Character index of a byte position.
int64_t CharacterAt(std::string_view text, size_t byte) { return static_cast<int64_t>(unicode::Length(text.substr(0, byte))); }

template <bool backwards, bool must>
Result<Value> Find(Interpreter&, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("find", arguments, {{"sub", std::nullopt}}));
  NIBBLE_TRY(const std::string wanted, ToText("find", values[0]));
  const size_t at = backwards ? self.Str().rfind(wanted) : self.Str().find(wanted);
  if (at != std::string::npos) return Value(CharacterAt(self.Str(), at));
  if (must) return Corrupt("substring not found");
  return Value(-1);
}

Result<Value> CountText(Interpreter&, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("count", arguments, {{"sub", std::nullopt}}));
  NIBBLE_TRY(const std::string wanted, ToText("count", values[0]));
  if (wanted.empty()) return Value(unicode::Length(self.Str()) + 1);
  return Value(SplitAt(self.Str(), wanted, -1, false).size() - 1);
}

template <bool suffix>
Result<Value> RemoveAffix(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind(suffix ? "removesuffix" : "removeprefix", arguments, {{"affix", std::nullopt}}));
  NIBBLE_TRY(const std::string affix, ToText("removeprefix", values[0]));
  std::string_view text = self.Str();
  if (!suffix && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (suffix && text.ends_with(affix)) text.remove_suffix(affix.size());
  return MakeText(interpreter.budget(), std::string(text));
}

template <bool backwards>
Result<Value> Partition(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("partition", arguments, {{"sep", std::nullopt}}));
  NIBBLE_TRY(const std::string separator, ToText("partition", values[0]));
  if (separator.empty()) return Corrupt("empty separator");
  const std::string_view text = self.Str();
  const size_t at = backwards ? text.rfind(separator) : text.find(separator);
  std::vector<std::string_view> parts = {text, "", ""};
  if (at != text.npos) {
    parts = {text.substr(0, at), text.substr(at, separator.size()), text.substr(at + separator.size())};
  } else if (backwards) {
    parts = {"", "", text};
  }
  return Pieces(interpreter, parts, List::Type::kTuple);
}

// True for a text that is not empty and whose characters all satisfy `accept`.
template <bool (*accept)(char32_t)>
Result<Value> AllCharacters(Interpreter&, const Value& self, const Arguments&) {
  for (size_t pos = 0; pos < self.Str().size();) {
    if (!accept(unicode::Next(self.Str(), pos))) return Value(false);
  }
  return Value(!self.Str().empty());
}
bool IsAlnum(char32_t c) { return unicode::IsLetter(c) || unicode::IsNumeric(c); }

// isupper, islower: no character of the other case and at least one of this.
template <bool upper>
Result<Value> AllCased(Interpreter&, const Value& self, const Arguments&) {
  bool any = false;
  for (size_t pos = 0; pos < self.Str().size();) {
    const char32_t c = unicode::Next(self.Str(), pos);
    if (upper ? unicode::IsLower(c) : unicode::IsUpper(c)) return Value(false);
    any |= unicode::IsCased(c);
  }
  return Value(any);
}

// Fills up to `width` characters: -1 left-justified, 0 centered, 1 right-justified.
template <int side>
Result<Value> Justify(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("justify", arguments, {{"width", std::nullopt}, {"fillchar", Value(" ")}}));
  NIBBLE_TRY(const int64_t width, ToInteger("justify", values[0]));
  NIBBLE_TRY(const std::string fill, ToText("justify", values[1]));
  if (unicode::Length(fill) != 1) return Corrupt("The fill character must be exactly one character long");
  const int64_t missing = width - static_cast<int64_t>(unicode::Length(self.Str()));
  if (missing <= 0) return self;
  if (missing > (1 << 24)) return Fail(Code::kResourceExhausted, "a text padded to {} characters", width);
  NIBBLE_RETURN_IF_ERROR(interpreter.budget().Allocate(static_cast<size_t>(missing) * fill.size()));
  const int64_t left = side < 0 ? 0 : side > 0 ? missing : missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < missing; ++i) {
    if (i == left) out += self.Str();
    out += fill;
  }
  if (left == missing) out += self.Str();
  return MakeText(interpreter.budget(), std::move(out));
}

Result<Value> ZeroFill(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("zfill", arguments, {{"width", std::nullopt}}));
  Arguments justified;
  const bool is_signed = self.Str().starts_with('-') || self.Str().starts_with('+');
  NIBBLE_TRY(const int64_t width, ToInteger("zfill", values[0]));
  justified.positional = {Value(width - (is_signed ? 1 : 0)), Value("0")};
  NIBBLE_TRY(const Value digits, Justify<1>(interpreter, Value(self.Str().substr(is_signed ? 1 : 0)), justified));
  return MakeText(interpreter.budget(), self.Str().substr(0, is_signed ? 1 : 0) + digits.Str());
}

// "{} {0} {name}".format(...): plain fields only; a format specification or an attribute is not part of the subset.
Result<Value> Format(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const std::string& text = self.Str();
  std::string out;
  size_t next = 0;
  for (size_t pos = 0; pos < text.size(); ++pos) {
    const char c = text[pos];
    if ((c == '{' || c == '}') && pos + 1 < text.size() && text[pos + 1] == c) {
      out += c;
      ++pos;
      continue;
    }
    if (c == '}') return Corrupt("Single '}}' encountered in format string");
    if (c != '{') {
      out += c;
      continue;
    }
    const size_t end = text.find('}', pos);
    if (end == text.npos) return Corrupt("expected '}}' before end of string");
    const std::string field = text.substr(pos + 1, end - pos - 1);
    if (field.find_first_of(":!.[") != field.npos) return Unsupported("format field \"{}\": only {{}}, {{0}} and {{name}}", field);
    size_t index = next;
    const auto [stop, error] = std::from_chars(field.data(), field.data() + field.size(), index);
    const Value* value = nullptr;
    if (field.empty() || (error == std::errc() && stop == field.data() + field.size())) {
      if (field.empty()) ++next;
      if (index >= arguments.positional.size())
        return Corrupt("Replacement index {} out of range for positional args tuple", index);
      value = &arguments.positional[index];
    } else {
      for (const auto& [name, known] : arguments.keyword) value = name == field ? &known : value;
      if (!value) return Corrupt("'{}'", field);
    }
    NIBBLE_TRY(const std::string shown, ToStr(interpreter.budget(), *value));
    out += shown;
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().CheckOutput(out.size()));
    pos = end;
  }
  return MakeText(interpreter.budget(), std::move(out));
}

const Table& TextMethods() {
  static const Table table = {{"strip", Strip<true, true>},
                              {"lstrip", Strip<true, false>},
                              {"rstrip", Strip<false, true>},
                              {"split", Split<false>},
                              {"rsplit", Split<true>},
                              {"splitlines", SplitLines},
                              {"startswith", StartsEnds<true>},
                              {"endswith", StartsEnds<false>},
                              {"replace", ReplaceMethod},
                              {"upper", Upper},
                              {"lower", Lower},
                              {"casefold", Lower},
                              {"title", Capitalize<true>},
                              {"capitalize", Capitalize<false>},
                              {"join", JoinMethod},
                              {"find", Find<false, false>},
                              {"rfind", Find<true, false>},
                              {"index", Find<false, true>},
                              {"rindex", Find<true, true>},
                              {"count", CountText},
                              {"removeprefix", RemoveAffix<false>},
                              {"removesuffix", RemoveAffix<true>},
                              {"partition", Partition<false>},
                              {"rpartition", Partition<true>},
                              {"isspace", AllCharacters<IsPythonSpace>},
                              {"isalpha", AllCharacters<unicode::IsLetter>},
                              {"isalnum", AllCharacters<IsAlnum>},
                              {"isdigit", AllCharacters<unicode::IsDecimal>},
                              {"isdecimal", AllCharacters<unicode::IsDecimal>},
                              {"isnumeric", AllCharacters<unicode::IsNumeric>},
                              {"isupper", AllCased<true>},
                              {"islower", AllCased<false>},
                              {"ljust", Justify<-1>},
                              {"center", Justify<0>},
                              {"rjust", Justify<1>},
                              {"zfill", ZeroFill},
                              {"format", Format}};
  return table;
}

}  // namespace

Method FindTextMethod(std::string_view name) {
  const auto it = TextMethods().find(name);
  return it == TextMethods().end() ? nullptr : it->second;
}

}  // namespace nibble::jinja
