// SPDX-License-Identifier: Apache-2.0
// Expressions.
#include "tokenizers/jinja/interpreter.h"
#include "tokenizers/jinja/library.h"

namespace nibble::jinja {
namespace {

using Type = ExpressionType;

// The attributes of `loop`; nullopt for another name.
std::optional<Value> LoopAttribute(const std::shared_ptr<Loop>& loop, std::string_view name) {
  const auto& items = loop->items->items;
  const size_t i = loop->index, count = items.size();
  if (name == "index") return Value(i + 1);
  if (name == "index0") return Value(i);
  if (name == "revindex") return Value(count - i);
  if (name == "revindex0") return Value(count - i - 1);
  if (name == "first") return Value(i == 0);
  if (name == "last") return Value(i + 1 == count);
  if (name == "length") return Value(count);
  if (name == "depth") return Value(loop->depth + 1);
  if (name == "depth0") return Value(loop->depth);
  if (name == "previtem") return i > 0 ? items[i - 1] : Value::MakeUndefined("there is no previous item");
  if (name == "nextitem") return i + 1 < count ? items[i + 1] : Value::MakeUndefined("there is no next item");
  return std::nullopt;
}

Value LoopMethod(const std::shared_ptr<Loop>& loop, std::string_view name) {
  auto method = std::make_shared<Callable>();
  method->name = name;
  if (name == "cycle") {
    method->call = [loop](Interpreter&, Arguments& arguments) -> Result<Value> {
      if (arguments.positional.empty()) return Corrupt("no items for cycling given");
      return arguments.positional[loop->index % arguments.positional.size()];
    };
  } else {
    method->call = [loop](Interpreter& interpreter, Arguments& arguments) -> Result<Value> {
      NIBBLE_TRY(auto value, MakeList(interpreter.budget(), arguments.positional, List::Type::kTuple));
      bool same = false;
      if (loop->last_changed) {
        NIBBLE_TRY(same, Equal(interpreter.budget(), *loop->last_changed, value));
      }
      loop->last_changed = std::make_shared<Value>(std::move(value));
      return Value(!same);
    };
  }
  return Value(std::shared_ptr<const Callable>(std::move(method)));
}

Value BoundMethod(const Value& self, const std::string& name, Method method) {
  auto bound = std::make_shared<Callable>();
  bound->name = name;
  bound->call = [self, method](Interpreter& interpreter, Arguments& arguments) -> Result<Value> {
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().Spend(self.Size()));
    return method(interpreter, self, arguments);
  };
  return Value(std::shared_ptr<const Callable>(std::move(bound)));
}

tl::unexpected<Error> Raise(const Value& undefined) { return Corrupt("{}", undefined.UndefinedMessage()); }

}  // namespace

Result<Value> Interpreter::Attribute(const Value& object, const std::string& name) {
  if (object.IsUndefined()) return Raise(object);
  if (const auto* loop = object.As<std::shared_ptr<Loop>>()) {
    if (auto value = LoopAttribute(*loop, name)) return *std::move(value);
    if (name == "cycle" || name == "changed") return LoopMethod(*loop, name);
  }
  if (const auto* space = object.As<std::shared_ptr<Namespace>>()) {
    for (const auto& [known, value] : (*space)->items) {
      if (known == name) return value;
    }
  }
  if (const Method method = FindMethod(object, name)) {
    NIBBLE_RETURN_IF_ERROR(budget_.Allocate(256));
    return BoundMethod(object, name, method);
  }
  if (IsForbiddenMethod(object, name)) {
    return Value::MakeUndefined(fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, TypeName(object)));
  }
  if (const Dict* dict = object.AsDict()) {
    if (const Value* value = dict->Find(name)) return *value;
  }
  return Value::MakeUndefined(fmt::format("'{}' has no attribute '{}'", ObjectName(object), name));
}

Result<Value> Interpreter::Item(const Value& object, const Value& key) {
  if (object.IsUndefined()) return Raise(object);
  if (const Dict* dict = object.AsDict()) {
    NIBBLE_RETURN_IF_ERROR(budget_.Spend(key.Size()));
    if (const Value* value = dict->FindKey(key)) return *value;
  }
  if (key.IsInteger()) {
    int64_t index = key.Integer();
    if (const List* list = object.AsList(); list && list->type <= List::Type::kRange && list->type != List::Type::kGenerator) {
      if (index < 0) index += static_cast<int64_t>(list->items.size());
      if (index >= 0 && index < static_cast<int64_t>(list->items.size())) return list->items[static_cast<size_t>(index)];
    } else if (object.IsString()) {
      NIBBLE_TRY(const size_t length, LengthOf(budget_, object));
      if (index < 0) index += static_cast<int64_t>(length);
      if (index >= 0 && index < static_cast<int64_t>(length)) return Slice(budget_, object, Value(index), Value(index + 1), None{});
    }
  }
  if (key.IsString()) return Attribute(object, key.Str());
  NIBBLE_TRY(const std::string shown, ToRepr(budget_, key));
  return Value::MakeUndefined(fmt::format("{} has no element {}", ObjectName(object), shown));
}

Result<Value> Interpreter::Call(const Value& callee, Arguments& arguments) {
  if (callee.IsUndefined()) return Raise(callee);
  const auto* callable = callee.As<std::shared_ptr<const Callable>>();
  if (!callable) return Corrupt("'{}' object is not callable", TypeName(callee));
  const std::shared_ptr<const Callable> held = *callable;  // a macro may replace its own name
  return held->call(*this, arguments);
}

Result<Value> Interpreter::Evaluate(const Expression& node) {
  NIBBLE_RETURN_IF_ERROR(budget_.Spend());
  line_ = node.line;
  if (node.type == Type::kConstant) return node.constant;
  if (node.type == Type::kName) return EvaluateName(node);
  if (++depth_ > budget_.limits().depth) return Fail(Code::kResourceExhausted, "maximum recursion depth exceeded");
  auto value = EvaluateInner(node);
  --depth_;
  return value;
}

Result<Value> Interpreter::EvaluateInner(const Expression& node) {
  switch (node.type) {
    case Type::kDict: return EvaluateDict(node);
    case Type::kSlice: return EvaluateSlice(node);
    case Type::kCall: return EvaluateCall(node);
    case Type::kFilter: return EvaluateFilter(node);
    case Type::kTest: return EvaluateTest(node);
    case Type::kArithmetic: return EvaluateArithmetic(node);
    case Type::kConcat: return EvaluateConcat(node);
    case Type::kCompare: return EvaluateCompare(node);
    case Type::kAnd:
    case Type::kOr:
    case Type::kConditional: return EvaluateChoice(node);
    case Type::kList:
    case Type::kTuple: {
      NIBBLE_TRY(auto items, EvaluateAll(node.children));
      return MakeList(budget_, std::move(items), node.type == Type::kList ? List::Type::kList : List::Type::kTuple);
    }
    case Type::kConstant:
    case Type::kName: break;
    default: {
      NIBBLE_TRY(const Value value, Evaluate(*node.children[0]));
      if (node.type == Type::kAttribute) return Attribute(value, node.text);
      if (node.type == Type::kNot) return Value(!value.Truth());
      if (node.type == Type::kItem) {
        NIBBLE_TRY(const Value key, Evaluate(*node.children[1]));
        return Item(value, key);
      }
      if (value.IsUndefined()) return Raise(value);
      if (!value.IsNumber())
        return Corrupt("bad operand type for unary {}: '{}'", node.type == Type::kNegative ? '-' : '+', TypeName(value));
      return Arithmetic(budget_, node.type == Type::kNegative ? "-" : "+", Value(0), value);
    }
  }
  return Value();
}

Result<Value> Interpreter::EvaluateName(const Expression& node) {
  if (const Value* value = scope_->Find(node.symbol)) return *value;
  return Value::MakeUndefined(fmt::format("'{}' is undefined", node.text));
}

Result<std::vector<Value>> Interpreter::EvaluateAll(const std::vector<ExpressionPtr>& nodes, size_t first) {
  std::vector<Value> values;
  values.reserve(nodes.size());
  for (size_t i = first; i < nodes.size(); ++i) {
    NIBBLE_TRY(auto value, Evaluate(*nodes[i]));
    values.push_back(std::move(value));
  }
  return values;
}

Result<Arguments> Interpreter::EvaluateArguments(const Expression& node) {
  Arguments arguments;
  NIBBLE_TRY(arguments.positional, EvaluateAll(node.children, 1));
  for (const auto& [name, child] : node.keywords) {
    NIBBLE_TRY(auto value, Evaluate(*child));
    arguments.keyword.emplace_back(name, std::move(value));
  }
  return arguments;
}

Result<Value> Interpreter::EvaluateDict(const Expression& node) {
  std::vector<std::pair<Value, Value>> items;
  for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
    NIBBLE_TRY(auto key, Evaluate(*node.children[i]));
    NIBBLE_TRY(auto value, Evaluate(*node.children[i + 1]));
    items.emplace_back(std::move(key), std::move(value));
  }
  return MakeDict(budget_, std::move(items));
}

Result<Value> Interpreter::EvaluateSlice(const Expression& node) {
  NIBBLE_TRY(const Value container, Evaluate(*node.children[0]));
  if (container.IsUndefined()) return Raise(container);
  Value bounds[3] = {None{}, None{}, None{}};
  for (size_t i = 0; i < 3; ++i) {
    if (!node.children[i + 1]) continue;
    NIBBLE_TRY(bounds[i], Evaluate(*node.children[i + 1]));
  }
  return Slice(budget_, container, bounds[0], bounds[1], bounds[2]);
}

Result<Value> Interpreter::EvaluateCall(const Expression& node) {
  NIBBLE_TRY(const Value callee, Evaluate(*node.children[0]));
  NIBBLE_TRY(Arguments arguments, EvaluateArguments(node));
  line_ = node.line;
  return Call(callee, arguments);
}

Result<Value> Interpreter::EvaluateFilter(const Expression& node) {
  Value input = filter_input_;
  if (node.children[0]) {
    NIBBLE_TRY(input, Evaluate(*node.children[0]));
  }
  NIBBLE_TRY(const Arguments arguments, EvaluateArguments(node));
  NIBBLE_RETURN_IF_ERROR(budget_.Spend(input.Size()));
  return ApplyFilter(*this, node.text, input, arguments);
}

Result<Value> Interpreter::EvaluateTest(const Expression& node) {
  NIBBLE_TRY(const Value input, Evaluate(*node.children[0]));
  NIBBLE_TRY(const Arguments arguments, EvaluateArguments(node));
  NIBBLE_TRY(const bool result, ApplyTest(*this, node.text, input, arguments));
  return Value(result);
}

Result<Value> Interpreter::EvaluateArithmetic(const Expression& node) {
  NIBBLE_TRY(Value value, Evaluate(*node.children[0]));
  for (size_t i = 0; i < node.operators.size(); ++i) {
    NIBBLE_TRY(const Value right, Evaluate(*node.children[i + 1]));
    NIBBLE_TRY(value, Arithmetic(budget_, node.operators[i], value, right));
  }
  return value;
}

Result<Value> Interpreter::EvaluateConcat(const Expression& node) {
  std::string text;
  for (const auto& child : node.children) {
    NIBBLE_TRY(const Value value, Evaluate(*child));
    NIBBLE_TRY(const std::string part, ToStr(budget_, value));
    text += part;
  }
  return MakeText(budget_, std::move(text));
}

Result<Value> Interpreter::EvaluateCompare(const Expression& node) {
  NIBBLE_TRY(Value left, Evaluate(*node.children[0]));
  for (size_t i = 0; i < node.operators.size(); ++i) {
    NIBBLE_TRY(Value right, Evaluate(*node.children[i + 1]));
    const std::string& sign = node.operators[i];
    bool holds = false;
    if (sign == "==" || sign == "!=") {
      NIBBLE_TRY(holds, Equal(budget_, left, right));
      holds = holds == (sign == "==");
    } else if (sign == "in" || sign == "not in") {
      NIBBLE_TRY(holds, Contains(budget_, right, left));
      holds = holds == (sign == "in");
    } else if (sign == "<" || sign == ">") {
      NIBBLE_TRY(holds, sign == "<" ? Less(budget_, left, right, "<") : Less(budget_, right, left, ">"));
    } else {
      NIBBLE_TRY(holds, sign == ">=" ? Less(budget_, left, right, ">=") : Less(budget_, right, left, "<="));
      holds = !holds;
    }
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> Interpreter::EvaluateChoice(const Expression& node) {
  if (node.type == Type::kConditional) {
    NIBBLE_TRY(const Value condition, Evaluate(*node.children[0]));
    if (condition.Truth()) return Evaluate(*node.children[1]);
    if (node.children[2]) return Evaluate(*node.children[2]);
    return Value::MakeUndefined(
        fmt::format("the inline if-expression on line {} evaluated to false and no else section was defined.", node.line));
  }
  Value value;
  for (const auto& child : node.children) {
    NIBBLE_TRY(value, Evaluate(*child));
    if (value.Truth() == (node.type == Type::kOr)) break;
  }
  return value;
}

}  // namespace nibble::jinja
