// SPDX-License-Identifier: Apache-2.0
// Filters on one value: texts, numbers, JSON.
#include "tokenizers/jinja/filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tokenizers/jinja/library.h"
#include "tokenizers/unicode.h"

namespace nibble::jinja {
namespace {

// Runs the method of the same meaning on str(input).
Result<Value> OnText(Interpreter& interpreter, std::string_view method, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(std::string text, ToStr(interpreter.budget(), input));
  const Value self(std::move(text));
  return FindMethod(self, method)(interpreter, self, arguments);
}

template <const char* const& method>
Result<Value> TextMethod(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  return OnText(interpreter, method, input, arguments);
}
constexpr const char* kUpper = "upper";
constexpr const char* kLower = "lower";
constexpr const char* kCapitalize = "capitalize";

Result<Value> Trim(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  return OnText(interpreter, "strip", input, arguments);
}

// A capital at the start and behind spaces, hyphens and opening brackets.
Result<Value> Title(Interpreter& interpreter, const Value& input, const Arguments&) {
  NIBBLE_TRY(const std::string text, ToStr(interpreter.budget(), input));
  std::string out;
  bool first = true;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = unicode::Next(text, pos);
    out += first ? unicode::Upper(unicode::ToUtf8(c)) : unicode::Lower(unicode::ToUtf8(c));
    first = unicode::IsSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  }
  return MakeText(interpreter.budget(), std::move(out));
}

Result<Value> ReplaceFilter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(auto values, Bind("replace", arguments, {{"old", std::nullopt}, {"new", std::nullopt}, {"count", None{}}}));
  Arguments forwarded;
  for (size_t i = 0; i < 2; ++i) {
    NIBBLE_TRY(auto text, ToStr(interpreter.budget(), values[i]));
    forwarded.positional.emplace_back(std::move(text));
  }
  if (!values[2].IsNone()) forwarded.positional.push_back(values[2]);
  return OnText(interpreter, "replace", input, forwarded);
}

Result<Value> Center(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(auto values, Bind("center", arguments, {{"width", Value(80)}}));
  Arguments forwarded;
  forwarded.positional = std::move(values);
  return OnText(interpreter, "center", input, forwarded);
}

Result<Value> ToString(Interpreter& interpreter, const Value& input, const Arguments&) {
  if (input.IsString()) return input;
  NIBBLE_TRY(auto text, ToStr(interpreter.budget(), input));
  return Value(std::move(text));
}

Result<Value> Safe(Interpreter& interpreter, const Value& input, const Arguments&) {
  NIBBLE_TRY(auto text, ToStr(interpreter.budget(), input));
  return Value(std::move(text), true);
}

Result<Value> Escape(Interpreter& interpreter, const Value& input, const Arguments&) {
  if (input.IsString() && input.As<Text>()->markup) return input;
  NIBBLE_TRY(const auto text, ToStr(interpreter.budget(), input));
  NIBBLE_RETURN_IF_ERROR(interpreter.budget().Allocate(text.size() * 5));
  return Value(EscapeHtml(text), true);
}

Result<Value> Default(Interpreter&, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("default", arguments, {{"default_value", Value("")}, {"boolean", Value(false)}}));
  return input.IsUndefined() || (values[1].Truth() && !input.Truth()) ? values[0] : input;
}

// The indentation that `width` means: a text, or so many spaces.
Result<std::string> Indentation(const Value& width) {
  if (width.IsString()) return width.Str();
  NIBBLE_TRY(const int64_t spaces, ToInteger("indent", width));
  if (spaces > 10'000) return Fail(Code::kResourceExhausted, "indented by {} spaces", spaces);
  return std::string(static_cast<size_t>(std::max<int64_t>(spaces, 0)), ' ');
}

Result<Value> Indent(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("indent", arguments, {{"width", Value(4)}, {"first", Value(false)}, {"blank", Value(false)}}));
  NIBBLE_TRY(const std::string indentation, Indentation(values[0]));
  NIBBLE_TRY(std::string text, ToStr(interpreter.budget(), input));
  const Value terminated(text + "\n");  // so that a newline at the end stays
  NIBBLE_TRY(const Value lines, FindMethod(terminated, "splitlines")(interpreter, terminated, {}));
  const auto& items = lines.AsList()->items;
  std::string out = values[1].Truth() ? indentation : "";
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string& line = items[i].Str();
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().Allocate(line.size() + indentation.size() + 1));
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().CheckOutput(out.size()));
    if (i > 0) out += '\n';
    if (i > 0 && (values[2].Truth() || !line.empty())) out += indentation;
    out += line;
  }
  return MakeText(interpreter.budget(), std::move(out));
}

Result<Value> ToJson(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values,
             Bind("tojson", arguments,
                  {{"ensure_ascii", Value(false)}, {"indent", None{}}, {"separators", None{}}, {"sort_keys", Value(false)}}));
  JsonStyle style;
  style.ensure_ascii = values[0].Truth();
  style.sort_keys = values[3].Truth();
  style.has_indent = !values[1].IsNone();
  if (style.has_indent) {
    NIBBLE_TRY(style.indent, Indentation(values[1]));
    style.item_separator.resize(1);  // json.dumps leaves the space out at the end of a line
  }
  if (!values[2].IsNone()) {
    NIBBLE_TRY(const auto pair, Iterate(interpreter.budget(), values[2]));
    if (pair->items.size() != 2) return Corrupt("tojson: separators must be a pair of texts");
    NIBBLE_TRY(style.item_separator, ToText("tojson", pair->items[0]));
    NIBBLE_TRY(style.key_separator, ToText("tojson", pair->items[1]));
  }
  NIBBLE_TRY(auto text, DumpJson(interpreter.budget(), input, style));
  return Value(std::move(text));
}

std::string_view Stripped(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\n\r\f\v"), end = text.find_last_not_of(" \t\n\r\f\v");
  return begin == text.npos ? std::string_view() : text.substr(begin, end - begin + 1);
}

std::optional<double> ParseFloat(std::string_view text) {
  text = Stripped(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<Value> ToInt(Interpreter&, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("int", arguments, {{"default", Value(0)}, {"base", Value(10)}}));
  NIBBLE_TRY(const int64_t base, ToInteger("int", values[1]));
  if (input.IsInteger()) return Value(input.Integer());
  if (input.IsUndefined()) return Corrupt("{}", input.UndefinedMessage());
  std::optional<double> number;
  if (input.IsFloat()) number = input.Number();
  if (input.IsString() && base >= 2 && base <= 36) {
    std::string_view text = Stripped(input.Str());
    if (text.starts_with('+')) text.remove_prefix(1);
    if (base == 16 && text.starts_with("0x")) text.remove_prefix(2);
    int64_t value = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, static_cast<int>(base));
    if (!text.empty() && error == std::errc() && stop == text.data() + text.size()) return Value(value);
    number = ParseFloat(text);
  }
  if (!number || !(std::abs(*number) < 9.2e18)) return values[0];
  return Value(static_cast<int64_t>(*number));
}

Result<Value> ToFloat(Interpreter&, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("float", arguments, {{"default", Value(0.0)}}));
  if (input.IsNumber()) return Value(input.Number());
  if (input.IsUndefined()) return Corrupt("{}", input.UndefinedMessage());
  const auto number = input.IsString() ? ParseFloat(input.Str()) : std::nullopt;
  return number ? Value(*number) : values[0];
}

Result<Value> Abs(Interpreter& interpreter, const Value& input, const Arguments&) {
  if (input.IsFloat()) return Value(std::abs(input.Number()));
  if (!input.IsInteger()) return Corrupt("bad operand type for abs(): '{}'", TypeName(input));
  return input.Integer() < 0 ? Arithmetic(interpreter.budget(), "-", Value(0), input) : Result<Value>(input);
}

// round(x, digits, method): "common" rounds half to even on the nearest double, as Python's round does.
Result<Value> Round(Interpreter&, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("round", arguments, {{"precision", Value(0)}, {"method", Value("common")}}));
  NIBBLE_TRY(const int64_t precision, ToInteger("round", values[0]));
  NIBBLE_TRY(const std::string method, ToText("round", values[1]));
  if (!input.IsNumber()) return Corrupt("type {} doesn't define __round__ method", TypeName(input));
  if (method != "common" && method != "ceil" && method != "floor") return Corrupt("method must be common, ceil or floor");
  const double scale = std::pow(10.0, static_cast<double>(std::clamp<int64_t>(precision, -300, 300)));
  const double scaled = input.Number() * scale;
  const double rounded = method == "ceil" ? std::ceil(scaled) : method == "floor" ? std::floor(scaled) : std::nearbyint(scaled);
  if (method == "common" && input.IsInteger())
    return precision >= 0 ? Result<Value>(Value(input.Integer())) : Value(static_cast<int64_t>(rounded / scale));
  return Value(rounded / scale);
}

Result<Value> WordCount(Interpreter& interpreter, const Value& input, const Arguments&) {
  NIBBLE_TRY(const Value words, OnText(interpreter, "split", input, {}));
  return Value(words.AsList()->items.size());
}

Result<Value> AttributeFilter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("attr", arguments, {{"name", std::nullopt}}));
  NIBBLE_TRY(const std::string name, ToText("attr", values[0]));
  return interpreter.Attribute(input, name);
}

}  // namespace

const FilterTable& ValueFilters() {
  static const FilterTable table = {{"upper", TextMethod<kUpper>},
                                    {"lower", TextMethod<kLower>},
                                    {"capitalize", TextMethod<kCapitalize>},
                                    {"title", Title},
                                    {"trim", Trim},
                                    {"replace", ReplaceFilter},
                                    {"center", Center},
                                    {"string", ToString},
                                    {"safe", Safe},
                                    {"escape", Escape},
                                    {"e", Escape},
                                    {"forceescape", Escape},
                                    {"default", Default},
                                    {"d", Default},
                                    {"indent", Indent},
                                    {"tojson", ToJson},
                                    {"int", ToInt},
                                    {"float", ToFloat},
                                    {"abs", Abs},
                                    {"round", Round},
                                    {"wordcount", WordCount},
                                    {"attr", AttributeFilter}};
  return table;
}

Result<Value> ApplyFilter(Interpreter& interpreter, const std::string& name, const Value& input, const Arguments& arguments) {
  for (const FilterTable* table : {&ValueFilters(), &SequenceFilters()}) {
    const auto it = table->find(name);
    if (it != table->end()) return it->second(interpreter, input, arguments);
  }
  return Corrupt("No filter named '{}' found.", name);
}

}  // namespace nibble::jinja
