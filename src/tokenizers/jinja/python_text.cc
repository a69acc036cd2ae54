// SPDX-License-Identifier: Apache-2.0
// str() and repr() as Python writes them.
#include <cmath>

#include "tokenizers/jinja/value.h"
#include "tokenizers/unicode.h"

namespace nibble::jinja {
namespace {

// Characters that repr() shows as they are.
bool IsPrintable(char32_t c) {
  if (c < 0x80) return c >= 0x20 && c != 0x7F;
  if (unicode::IsSpace(c) || unicode::IsControl(c)) return false;
  return true;
}

void AppendTextRepr(std::string_view text, std::string& out) {
  const bool single = text.find('\'') != text.npos, quote2 = text.find('"') != text.npos;
  const char quote = single && !quote2 ? '"' : '\'';
  out += quote;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = unicode::Next(text, pos);
    if (c == '\\' || c == static_cast<char32_t>(quote)) {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsPrintable(c)) {
      unicode::Append(c, out);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
    }
  }
  out += quote;
}

Status AppendRepr(Budget& budget, const Value& value, std::string& out, int depth);

Status AppendItems(Budget& budget, const std::vector<Value>& items, std::string& out, int depth) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    NIBBLE_RETURN_IF_ERROR(AppendRepr(budget, items[i], out, depth + 1));
  }
  return {};
}

Status AppendPairs(Budget& budget, const Dict& dict, std::string& out, int depth) {
  out += '{';
  for (size_t i = 0; i < dict.items.size(); ++i) {
    if (i > 0) out += ", ";
    NIBBLE_RETURN_IF_ERROR(AppendRepr(budget, dict.items[i].first, out, depth + 1));
    out += ": ";
    NIBBLE_RETURN_IF_ERROR(AppendRepr(budget, dict.items[i].second, out, depth + 1));
  }
  out += '}';
  return {};
}

Status AppendListRepr(Budget& budget, const List& list, std::string& out, int depth) {
  switch (list.type) {
    case List::Type::kTuple:
      out += '(';
      NIBBLE_RETURN_IF_ERROR(AppendItems(budget, list.items, out, depth));
      out += list.items.size() == 1 ? ",)" : ")";
      return {};
    case List::Type::kGenerator: out += "<generator object>"; return {};
    case List::Type::kRange: {
      const int64_t first = list.items.empty() ? 0 : list.items.front().Integer();
      const int64_t step = list.items.size() < 2 ? 1 : list.items[1].Integer() - first;
      const int64_t stop = list.items.empty() ? 0 : list.items.back().Integer() + step;
      out += step == 1 ? fmt::format("range({}, {})", first, stop) : fmt::format("range({}, {}, {})", first, stop, step);
      return {};
    }
    case List::Type::kKeys: out += "dict_keys(["; break;
    case List::Type::kValues: out += "dict_values(["; break;
    case List::Type::kItems: out += "dict_items(["; break;
    case List::Type::kList: out += '['; break;
  }
  NIBBLE_RETURN_IF_ERROR(AppendItems(budget, list.items, out, depth));
  out += list.type == List::Type::kList ? "]" : "])";
  return {};
}

Status AppendRepr(Budget& budget, const Value& value, std::string& out, int depth) {
  // Namespaces may contain themselves.
  if (depth > kMaxValueDepth) return Fail(Code::kResourceExhausted, "printing a value nested deeper than {}", kMaxValueDepth);
  NIBBLE_RETURN_IF_ERROR(budget.Allocate(value.IsString() ? value.Str().size() : 8));
  NIBBLE_RETURN_IF_ERROR(budget.CheckOutput(out.size()));
  if (value.IsString()) {
    if (value.As<Text>()->markup) out += "Markup(";
    AppendTextRepr(value.Str(), out);
    if (value.As<Text>()->markup) out += ')';
    return {};
  }
  if (const List* list = value.AsList()) return AppendListRepr(budget, *list, out, depth);
  if (const Dict* dict = value.AsDict()) return AppendPairs(budget, *dict, out, depth);
  if (const auto* space = value.As<std::shared_ptr<Namespace>>()) {
    out += "<Namespace {";
    for (size_t i = 0; i < (*space)->items.size(); ++i) {
      if (i > 0) out += ", ";
      AppendTextRepr((*space)->items[i].first, out);
      out += ": ";
      NIBBLE_RETURN_IF_ERROR(AppendRepr(budget, (*space)->items[i].second, out, depth + 1));
    }
    out += "}>";
    return {};
  }
  if (value.IsUndefined()) {
    out += "Undefined";
  } else if (value.IsNone()) {
    out += "None";
  } else if (value.IsBool()) {
    out += value.Truth() ? "True" : "False";
  } else if (value.IsInteger()) {
    out += fmt::format("{}", value.Integer());
  } else if (value.IsBigInteger()) {
    out += fmt::format("{}", value.As<BigInteger>()->value);
  } else if (value.IsFloat()) {
    out += FloatText(value.Number());
  } else if (const auto* loop = value.As<std::shared_ptr<Loop>>()) {
    out += fmt::format("<LoopContext {}/{}>", (*loop)->index + 1, (*loop)->items->items.size());
  } else {
    out += fmt::format("<{}>", TypeName(value));
  }
  return {};
}

}  // namespace

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // fmt writes the shortest digits that read back as the same number, with an exponent where Python has one; only ".0" is missing.
  std::string digits = fmt::format("{}", value);
  if (digits.find_first_of(".e") == digits.npos) digits += ".0";
  return digits;
}

Result<std::string> ToRepr(Budget& budget, const Value& value) {
  std::string out;
  NIBBLE_RETURN_IF_ERROR(AppendRepr(budget, value, out, 0));
  return out;
}

Result<std::string> ToStr(Budget& budget, const Value& value) {
  if (value.IsString()) {
    NIBBLE_RETURN_IF_ERROR(budget.Allocate(value.Size()));
    return value.Str();
  }
  if (value.IsUndefined()) return std::string();
  return ToRepr(budget, value);
}

}  // namespace nibble::jinja
