// SPDX-License-Identifier: Apache-2.0
// Tests: "value is name".
#include <unordered_map>

#include "tokenizers/jinja/library.h"
#include "tokenizers/unicode.h"

namespace nibble::jinja {
namespace {

template <bool (*check)(const Value&)>
Result<bool> Plain(Interpreter&, const Value& input, const Arguments&) {
  return check(input);
}

bool IsDefined(const Value& value) { return !value.IsUndefined(); }
bool IsUndefined(const Value& value) { return value.IsUndefined(); }
bool IsNone(const Value& value) { return value.IsNone(); }
bool IsString(const Value& value) { return value.IsString(); }
bool IsMapping(const Value& value) { return value.IsDict(); }
bool IsNumber(const Value& value) { return value.IsNumber() || value.IsBigInteger(); }
bool IsInteger(const Value& value) { return (value.IsInteger() && !value.IsBool()) || value.IsBigInteger(); }
bool IsFloatTest(const Value& value) { return value.IsFloat(); }
bool IsBoolean(const Value& value) { return value.IsBool(); }
bool IsTrue(const Value& value) { return value.IsBool() && value.Truth(); }
bool IsFalse(const Value& value) { return value.IsBool() && !value.Truth(); }
bool IsCallable(const Value& value) { return value.As<std::shared_ptr<const Callable>>() != nullptr; }
bool IsIterable(const Value& value) {
  return value.IsString() || value.IsDict() || value.AsList() || value.IsUndefined() || value.As<std::shared_ptr<Loop>>();
}
// Has a length and items by index; Python finds both in a dict, too.
bool IsSequence(const Value& value) {
  const List* list = value.AsList();
  if (list) return list->type == List::Type::kList || list->type == List::Type::kTuple || list->type == List::Type::kRange;
  return value.IsString() || value.IsDict() || value.IsUndefined();
}

template <int remainder>
Result<bool> Parity(Interpreter& interpreter, const Value& input, const Arguments&) {
  NIBBLE_TRY(const Value rest, Arithmetic(interpreter.budget(), "%", input, Value(2)));
  return Equal(interpreter.budget(), rest, Value(remainder));
}

Result<bool> DivisibleBy(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("divisibleby", arguments, {{"num", std::nullopt}}));
  NIBBLE_TRY(const Value rest, Arithmetic(interpreter.budget(), "%", input, values[0]));
  return !rest.Truth();
}

template <bool wanted>
Result<bool> IsEqual(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("eq", arguments, {{"other", std::nullopt}}));
  NIBBLE_TRY(const bool same, Equal(interpreter.budget(), input, values[0]));
  return same == wanted;
}

enum class Order { kLess, kLessEqual, kGreater, kGreaterEqual };
template <Order order>
Result<bool> IsOrdered(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("compare", arguments, {{"other", std::nullopt}}));
  Budget& budget = interpreter.budget();
  if (order == Order::kLess) return Less(budget, input, values[0], "<");
  if (order == Order::kGreater) return Less(budget, values[0], input, ">");
  NIBBLE_TRY(const bool inverse,
             order == Order::kLessEqual ? Less(budget, values[0], input, "<=") : Less(budget, input, values[0], ">="));
  return !inverse;
}

Result<bool> IsIn(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("in", arguments, {{"seq", std::nullopt}}));
  return Contains(interpreter.budget(), values[0], input);
}

Result<bool> SameAs(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("sameas", arguments, {{"other", std::nullopt}}));
  const Value& other = values[0];
  if (input.IsBool() || other.IsBool()) return input.IsBool() && other.IsBool() && input.Truth() == other.Truth();
  if (std::string_view(TypeName(input)) != TypeName(other)) return false;
  return Equal(interpreter.budget(), input, other);
}

template <bool upper>
Result<bool> IsCase(Interpreter& interpreter, const Value& input, const Arguments&) {
  NIBBLE_TRY(const std::string text, ToStr(interpreter.budget(), input));
  bool any = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = unicode::Next(text, pos);
    if (upper ? unicode::IsLower(c) : unicode::IsUpper(c)) return false;
    any |= unicode::IsCased(c);
  }
  return any;
}

}  // namespace

Result<bool> ApplyTest(Interpreter& interpreter, const std::string& name, const Value& input, const Arguments& arguments) {
  static const std::unordered_map<std::string_view, Test> table = {{"defined", Plain<IsDefined>},
                                                                   {"undefined", Plain<IsUndefined>},
                                                                   {"none", Plain<IsNone>},
                                                                   {"string", Plain<IsString>},
                                                                   {"mapping", Plain<IsMapping>},
                                                                   {"number", Plain<IsNumber>},
                                                                   {"integer", Plain<IsInteger>},
                                                                   {"float", Plain<IsFloatTest>},
                                                                   {"boolean", Plain<IsBoolean>},
                                                                   {"true", Plain<IsTrue>},
                                                                   {"false", Plain<IsFalse>},
                                                                   {"callable", Plain<IsCallable>},
                                                                   {"iterable", Plain<IsIterable>},
                                                                   {"sequence", Plain<IsSequence>},
                                                                   {"odd", Parity<1>},
                                                                   {"even", Parity<0>},
                                                                   {"divisibleby", DivisibleBy},
                                                                   {"eq", IsEqual<true>},
                                                                   {"equalto", IsEqual<true>},
                                                                   {"==", IsEqual<true>},
                                                                   {"ne", IsEqual<false>},
                                                                   {"!=", IsEqual<false>},
                                                                   {"lt", IsOrdered<Order::kLess>},
                                                                   {"lessthan", IsOrdered<Order::kLess>},
                                                                   {"<", IsOrdered<Order::kLess>},
                                                                   {"le", IsOrdered<Order::kLessEqual>},
                                                                   {"<=", IsOrdered<Order::kLessEqual>},
                                                                   {"gt", IsOrdered<Order::kGreater>},
                                                                   {"greaterthan", IsOrdered<Order::kGreater>},
                                                                   {">", IsOrdered<Order::kGreater>},
                                                                   {"ge", IsOrdered<Order::kGreaterEqual>},
                                                                   {">=", IsOrdered<Order::kGreaterEqual>},
                                                                   {"in", IsIn},
                                                                   {"sameas", SameAs},
                                                                   {"upper", IsCase<true>},
                                                                   {"lower", IsCase<false>}};
  const auto it = table.find(name);
  if (it == table.end()) return Corrupt("No test named '{}' found.", name);
  return it->second(interpreter, input, arguments);
}

}  // namespace nibble::jinja
