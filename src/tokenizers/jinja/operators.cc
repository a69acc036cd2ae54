// SPDX-License-Identifier: Apache-2.0
// Python's operators on values: arithmetic, "in", slices.
#include <algorithm>
#include <cmath>

#include "tokenizers/jinja/library.h"
#include "tokenizers/unicode.h"

namespace nibble::jinja {
namespace {

tl::unexpected<Error> BadOperands(std::string_view sign, const Value& a, const Value& b) {
  return Corrupt("unsupported operand type(s) for {}: '{}' and '{}'", sign == "**" ? "** or pow()" : sign, TypeName(a),
                 TypeName(b));
}

tl::unexpected<Error> Overflow(std::string_view sign) { return Unsupported("an integer beyond 64 bits in \"{}\"", sign); }

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0); }

Result<Value> Power(int64_t base, int64_t exponent) {
  if (exponent < 0) return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  int64_t result = 1;
  for (; exponent > 0; --exponent) {
    if (base == 0 || base == 1) return Value(base);
    if (base == -1) return Value(exponent % 2 ? int64_t{-1} * result : result);
    if (__builtin_mul_overflow(result, base, &result)) return Overflow("**");
  }
  return Value(result);
}

Result<Value> IntegerArithmetic(std::string_view sign, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (sign == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (sign == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (sign == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (sign == "**") {
    return Power(a, b);
  } else {
    if (b == 0) return Corrupt("{}", sign == "/" ? "division by zero" : "integer division or modulo by zero");
    if (sign == "/") return Value(static_cast<double>(a) / static_cast<double>(b));
    if (b == -1) {
      overflow = sign == "//" && a == INT64_MIN;
      result = sign == "//" && !overflow ? -a : 0;
    } else {
      result = sign == "//" ? FloorDivide(a, b) : a - FloorDivide(a, b) * b;
    }
  }
  if (overflow) return Overflow(sign);
  return Value(result);
}

Result<Value> FloatArithmetic(std::string_view sign, double a, double b) {
  if (sign == "+") return Value(a + b);
  if (sign == "-") return Value(a - b);
  if (sign == "*") return Value(a * b);
  if (sign == "**") return Value(std::pow(a, b));
  if (b == 0) return Corrupt("{}", sign == "/" ? "float division by zero" : "float floor division by zero");
  if (sign == "/") return Value(a / b);
  return Value(sign == "//" ? std::floor(a / b) : a - std::floor(a / b) * b);
}

// text * count, list * count.
Result<Value> Repeat(Budget& budget, const Value& sequence, int64_t count) {
  count = std::max<int64_t>(count, 0);
  const size_t size = std::max<size_t>(sequence.Size(), 1);
  if (static_cast<uint64_t>(count) > static_cast<uint64_t>(budget.limits().allocated_bytes) / size) {
    return Fail(Code::kResourceExhausted, "a sequence repeated {} times", count);
  }
  NIBBLE_RETURN_IF_ERROR(budget.Allocate(size * static_cast<size_t>(count)));
  if (sequence.IsString()) {
    std::string text;
    for (; count > 0; --count) text += sequence.Str();
    return Value(std::move(text));
  }
  std::vector<Value> items;
  const List& list = *sequence.AsList();
  for (; count > 0 && !list.items.empty(); --count) items.insert(items.end(), list.items.begin(), list.items.end());
  return MakeList(budget, std::move(items), list.type);
}

bool IsPlainList(const Value& value) {
  const List* list = value.AsList();
  return list && (list->type == List::Type::kList || list->type == List::Type::kTuple);
}

Result<Value> Add(Budget& budget, const Value& a, const Value& b) {
  if (a.IsString() && b.IsString()) {
    const bool left = a.As<Text>()->markup, right = b.As<Text>()->markup;
    if (left == right) return MakeText(budget, a.Str() + b.Str(), left);
    return MakeText(budget, (left ? a.Str() : EscapeHtml(a.Str())) + (right ? b.Str() : EscapeHtml(b.Str())), true);
  }
  if (a.IsString()) return Corrupt("can only concatenate str (not \"{}\") to str", TypeName(b));
  if (!IsPlainList(a)) return BadOperands("+", a, b);
  const List &x = *a.AsList(), *y = b.AsList();
  if (!y || y->type != x.type) {
    return Corrupt("can only concatenate {0} (not \"{1}\") to {0}", TypeName(a), TypeName(b));
  }
  NIBBLE_RETURN_IF_ERROR(budget.Allocate((x.items.size() + y->items.size()) * sizeof(Value)));
  std::vector<Value> items = x.items;
  items.insert(items.end(), y->items.begin(), y->items.end());
  return MakeList(budget, std::move(items), x.type);
}

// A bound of a slice, moved into 0...size (or -1...size-1 for a negative step).
Result<int64_t> SliceBound(const Value& bound, int64_t size, int64_t fallback, bool backwards) {
  if (bound.IsNone()) return fallback;
  if (bound.IsUndefined()) return Corrupt("{}", bound.UndefinedMessage());
  if (!bound.IsInteger()) return Corrupt("slice indices must be integers or None or have an __index__ method");
  int64_t at = bound.Integer();
  if (at < 0) at = at < -size ? -1 : at + size;
  const int64_t low = backwards ? -1 : 0, high = backwards ? size - 1 : size;
  return std::clamp(at, low, std::max(low, high));
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out += c;
    }
  }
  return out;
}

Result<Value> Arithmetic(Budget& budget, std::string_view sign, const Value& a, const Value& b) {
  if (a.IsUndefined() || b.IsUndefined()) return Corrupt("{}", (a.IsUndefined() ? a : b).UndefinedMessage());
  if (a.IsInteger() && b.IsInteger()) return IntegerArithmetic(sign, a.Integer(), b.Integer());
  if (a.IsNumber() && b.IsNumber()) return FloatArithmetic(sign, a.Number(), b.Number());
  if (sign == "+") return Add(budget, a, b);
  if (sign == "*") {
    const bool first = a.IsString() || IsPlainList(a), second = b.IsString() || IsPlainList(b);
    if (first && b.IsInteger()) return Repeat(budget, a, b.Integer());
    if (second && a.IsInteger()) return Repeat(budget, b, a.Integer());
    if (first || second) return Corrupt("can't multiply sequence by non-int of type '{}'", TypeName(first ? b : a));
  }
  if (sign == "%" && a.IsString()) return Unsupported("the % operator on a text; use ~ or the format filter");
  return BadOperands(sign, a, b);
}

Result<bool> Contains(Budget& budget, const Value& container, const Value& item) {
  NIBBLE_RETURN_IF_ERROR(budget.Spend(container.Size()));
  if (container.IsString()) {
    if (!item.IsString()) return Corrupt("'in <string>' requires string as left operand, not {}", TypeName(item));
    return container.Str().find(item.Str()) != std::string::npos;
  }
  if (const Dict* dict = container.AsDict()) {
    std::string ignored;
    if (!HashKey(item, ignored) && !item.IsUndefined()) return Corrupt("unhashable type: '{}'", TypeName(item));
    return dict->FindKey(item) != nullptr;
  }
  if (!container.AsList() && !container.IsUndefined()) return Corrupt("argument of type '{}' is not iterable", TypeName(container));
  NIBBLE_TRY(const auto items, Iterate(budget, container));
  for (const Value& candidate : items->items) {
    NIBBLE_TRY(const bool same, Equal(budget, candidate, item));
    if (same) return true;
  }
  return false;
}

Result<Value> Slice(Budget& budget, const Value& container, const Value& start, const Value& stop, const Value& step) {
  const List* list = container.AsList();
  const bool sliceable = container.IsString() || (list && (IsPlainList(container) || list->type == List::Type::kRange));
  if (!sliceable) return Value::MakeUndefined(fmt::format("{} has no element slice", ObjectName(container)));
  NIBBLE_TRY(const size_t length, LengthOf(budget, container));
  const auto size = static_cast<int64_t>(length);
  if (!step.IsNone() && !step.IsInteger()) return Corrupt("slice indices must be integers or None or have an __index__ method");
  const int64_t stride = step.IsNone() ? 1 : std::clamp<int64_t>(step.Integer(), -size - 1, size + 1);
  if (stride == 0) return Corrupt("slice step cannot be zero");
  const bool backwards = stride < 0;
  NIBBLE_TRY(const int64_t first, SliceBound(start, size, backwards ? size - 1 : 0, backwards));
  NIBBLE_TRY(const int64_t last, SliceBound(stop, size, backwards ? -1 : size, backwards));
  if (list) {
    std::vector<Value> items;
    for (int64_t i = first; backwards ? i > last : i < last; i += stride) items.push_back(list->items[static_cast<size_t>(i)]);
    return MakeList(budget, std::move(items), list->type);
  }
  const std::string& text = container.Str();
  std::vector<size_t> starts;  // byte of each character
  for (size_t pos = 0; pos < text.size(); unicode::Next(text, pos)) starts.push_back(pos);
  starts.push_back(text.size());
  NIBBLE_RETURN_IF_ERROR(budget.Allocate(text.size()));
  if (stride == 1) {
    const size_t begin = starts[static_cast<size_t>(first)], end = starts[static_cast<size_t>(std::max(first, last))];
    return Value(text.substr(begin, end - begin), container.As<Text>()->markup);
  }
  std::string out;
  for (int64_t i = first; backwards ? i > last : i < last; i += stride) {
    const size_t at = static_cast<size_t>(i);
    out.append(text, starts[at], starts[at + 1] - starts[at]);
  }
  return Value(std::move(out));
}

}  // namespace nibble::jinja
