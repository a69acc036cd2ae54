// SPDX-License-Identifier: Apache-2.0
// json.dumps of Python, which `tojson` is in chat templates.
#include <algorithm>
#include <cmath>

#include "tokenizers/jinja/library.h"
#include "tokenizers/unicode.h"

namespace nibble::jinja {
namespace {

class Dumper {
 public:
  Dumper(Budget& budget, const JsonStyle& style) : budget_(budget), style_(style) {}

  Status Dump(const Value& value, int depth) {
    NIBBLE_RETURN_IF_ERROR(budget_.Allocate(value.IsString() ? value.Size() : 8));
    NIBBLE_RETURN_IF_ERROR(budget_.CheckOutput(out_.size()));
    if (value.IsString()) {
      Text(value.Str());
    } else if (value.IsNone()) {
      out_ += "null";
    } else if (value.IsBool()) {
      out_ += value.Truth() ? "true" : "false";
    } else if (value.IsInteger()) {
      out_ += fmt::format("{}", value.Integer());
    } else if (value.IsBigInteger()) {
      out_ += fmt::format("{}", value.As<BigInteger>()->value);
    } else if (value.IsFloat()) {
      out_ += Number(value.Number());
    } else if (const List* list = value.AsList(); list && (list->type == List::Type::kList || list->type == List::Type::kTuple)) {
      return Items(list->items.size(), "[]", depth, [&](size_t i) { return Dump(list->items[i], depth + 1); });
    } else if (const Dict* dict = value.AsDict()) {
      return Object(*dict, depth);
    } else {
      return Corrupt("Object of type {} is not JSON serializable", TypeName(value));
    }
    return {};
  }

  std::string Take() { return std::move(out_); }

 private:
  static std::string Number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return FloatText(value);
  }

  void Text(std::string_view text) {
    out_ += '"';
    for (size_t pos = 0; pos < text.size();) {
      const char32_t c = unicode::Next(text, pos);
      switch (c) {
        case '"': out_ += "\\\""; break;
        case '\\': out_ += "\\\\"; break;
        case '\n': out_ += "\\n"; break;
        case '\r': out_ += "\\r"; break;
        case '\t': out_ += "\\t"; break;
        case '\b': out_ += "\\b"; break;
        case '\f': out_ += "\\f"; break;
        default: Character(c);
      }
    }
    out_ += '"';
  }

  void Character(char32_t c) {
    if (c >= 0x20 && (c < 0x7F || !style_.ensure_ascii)) {
      unicode::Append(c, out_);
    } else if (c == 0x7F) {
      out_ += '\x7F';
    } else if (c < 0x10000) {
      out_ += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      const uint32_t rest = static_cast<uint32_t>(c) - 0x10000;
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    }
  }

  void NewLine(int depth) {
    out_ += '\n';
    for (int i = 0; i < depth; ++i) out_ += style_.indent;
  }

  template <typename Each>
  Status Items(size_t count, const char* brackets, int depth, Each each) {
    out_ += brackets[0];
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) out_ += style_.item_separator;
      if (style_.has_indent) {
        NIBBLE_RETURN_IF_ERROR(budget_.Allocate(style_.indent.size() * static_cast<size_t>(depth + 1)));
        NewLine(depth + 1);
      }
      NIBBLE_RETURN_IF_ERROR(each(i));
    }
    if (style_.has_indent && count > 0) NewLine(depth);
    out_ += brackets[1];
    return {};
  }

  // Python writes the keys None, True and 1 as the texts "null", "true" and "1".
  static Result<std::string> KeyText(const Value& key) {
    if (key.IsString()) return key.Str();
    if (key.IsNone()) return std::string("null");
    if (key.IsBool()) return std::string(key.Truth() ? "true" : "false");
    if (key.IsInteger()) return fmt::format("{}", key.Integer());
    if (key.IsFloat()) return Number(key.Number());
    return Corrupt("keys must be str, int, float, bool or None, not {}", TypeName(key));
  }

  Status Object(const Dict& dict, int depth) {
    std::vector<std::pair<std::string, const Value*>> items;
    for (const auto& [key, value] : dict.items) {
      NIBBLE_TRY(std::string text, KeyText(key));
      NIBBLE_RETURN_IF_ERROR(budget_.Allocate(text.size()));
      items.emplace_back(std::move(text), &value);
    }
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    return Items(items.size(), "{}", depth, [&](size_t i) -> Status {
      Text(items[i].first);
      out_ += style_.key_separator;
      return Dump(*items[i].second, depth + 1);
    });
  }

  Budget& budget_;
  const JsonStyle& style_;
  std::string out_;
};

}  // namespace

Result<std::string> DumpJson(Budget& budget, const Value& value, const JsonStyle& style) {
  Dumper dumper(budget, style);
  NIBBLE_RETURN_IF_ERROR(dumper.Dump(value, 0));
  return dumper.Take();
}

}  // namespace nibble::jinja
