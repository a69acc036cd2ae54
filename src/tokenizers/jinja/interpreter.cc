// SPDX-License-Identifier: Apache-2.0
// Statements, scopes and macros.
#include "tokenizers/jinja/interpreter.h"

#include <algorithm>
#include <unordered_map>

#include "tokenizers/jinja/library.h"

namespace nibble::jinja {
namespace {

// Puts a value back at the end of a scope.
template <typename T>
class Restore {
 public:
  explicit Restore(T& place) : place_(place), saved_(place) {}
  ~Restore() { place_ = std::move(saved_); }
  Restore(const Restore&) = delete;

 private:
  T& place_;
  T saved_;
};

}  // namespace

Value* Scope::FindHere(int symbol) {
  for (auto& [name, value] : variables) {
    if (name == symbol) return &value;
  }
  return nullptr;
}

Value* Scope::Find(int symbol) {
  for (Scope* scope = this; scope; scope = scope->parent.get()) {
    if (Value* value = scope->FindHere(symbol)) return value;
  }
  return nullptr;
}

void Scope::Set(int symbol, Value value) {
  if (Value* known = FindHere(symbol)) {
    *known = std::move(value);
  } else {
    variables.emplace_back(symbol, std::move(value));
  }
}

Interpreter::~Interpreter() {
  for (auto& space : kept_namespaces_) space->items.clear();
  for (auto& scope : kept_scopes_) scope->variables.clear();
}

Value Interpreter::KeepNamespace(std::shared_ptr<Namespace> space) {
  kept_namespaces_.push_back(space);
  return Value(std::move(space));
}

Result<std::string> Interpreter::Render(const OrderedJson& variables) {
  scope_ = std::make_shared<Scope>();
  std::unordered_map<std::string_view, int> numbers;
  for (size_t i = 0; i < tree_.symbols.size(); ++i) numbers.emplace(tree_.symbols[i], static_cast<int>(i));
  const auto set = [&](const std::string& name, Value value) {
    const auto it = numbers.find(name);
    if (it != numbers.end()) scope_->Set(it->second, std::move(value));
  };
  for (auto& [name, value] : GlobalFunctions()) set(name, std::move(value));
  if (!variables.is_object()) return Fail(Code::kUsage, "the variables of a template must be an object");
  for (const auto& [name, json] : variables.items()) {
    NIBBLE_TRY(auto value, FromJson(budget_, json));
    set(name, std::move(value));
  }
  NIBBLE_RETURN_IF_ERROR(Run(tree_.body));
  return std::move(output_);
}

void Interpreter::PushScope() {
  auto scope = std::make_shared<Scope>();
  scope->parent = std::move(scope_);
  scope_ = std::move(scope);
}

void Interpreter::PopScope() { scope_ = scope_->parent; }

Status Interpreter::Write(std::string_view text) {
  NIBBLE_RETURN_IF_ERROR(budget_.Allocate(text.size()));
  NIBBLE_RETURN_IF_ERROR(budget_.CheckOutput(out_->size() + text.size()));
  out_->append(text);
  return {};
}

Result<Interpreter::Flow> Interpreter::Run(const Block& block) {
  if (++depth_ > budget_.limits().depth) return Fail(Code::kResourceExhausted, "maximum recursion depth exceeded");
  for (const auto& statement : block) {
    NIBBLE_TRY(const Flow flow, RunOne(*statement));
    if (flow != Flow::kNext) {
      --depth_;
      return flow;
    }
  }
  --depth_;
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::RunOne(const Statement& statement) {
  NIBBLE_RETURN_IF_ERROR(budget_.Spend());
  line_ = statement.line;
  switch (statement.type) {
    case StatementType::kData: NIBBLE_RETURN_IF_ERROR(Write(statement.text)); break;
    case StatementType::kPrint: {
      NIBBLE_TRY(const Value value, Evaluate(*statement.expressions[0]));
      if (value.IsString()) {
        NIBBLE_RETURN_IF_ERROR(Write(value.Str()));
        break;
      }
      NIBBLE_TRY(const std::string text, ToStr(budget_, value));
      NIBBLE_RETURN_IF_ERROR(Write(text));
      break;
    }
    case StatementType::kIf:
      for (size_t i = 0; i < statement.expressions.size(); ++i) {
        NIBBLE_TRY(const Value condition, Evaluate(*statement.expressions[i]));
        if (condition.Truth()) return Run(statement.blocks[i]);
      }
      if (statement.blocks.size() > statement.expressions.size()) return Run(statement.blocks.back());
      break;
    case StatementType::kFor: return RunFor(statement);
    case StatementType::kSet:
    case StatementType::kSetBlock: NIBBLE_RETURN_IF_ERROR(RunSet(statement)); break;
    case StatementType::kMacro:
      NIBBLE_RETURN_IF_ERROR(budget_.Allocate(512));  // what the macro and its scope take
      scope_->Set(statement.symbol, MakeMacro(statement, statement.parameters.size()));
      break;
    case StatementType::kCall: NIBBLE_RETURN_IF_ERROR(RunCall(statement)); break;
    case StatementType::kFilter: {
      NIBBLE_TRY(auto text, Capture(statement.blocks[0]));
      const Restore<Value> restore(filter_input_);
      filter_input_ = Value(std::move(text));
      NIBBLE_TRY(const Value value, Evaluate(*statement.expressions[0]));
      NIBBLE_TRY(const std::string filtered, ToStr(budget_, value));
      NIBBLE_RETURN_IF_ERROR(Write(filtered));
      break;
    }
    case StatementType::kWith: NIBBLE_RETURN_IF_ERROR(RunWith(statement)); break;
    case StatementType::kScope: {
      PushScope();
      auto flow = Run(statement.blocks[0]);
      PopScope();
      return flow;
    }
    case StatementType::kBreak: return Flow::kBreak;
    case StatementType::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

// The items of a loop, without those that its "if" refuses.
Result<std::shared_ptr<const List>> Interpreter::LoopItems(const Statement& statement) {
  NIBBLE_TRY(const Value source, Evaluate(*statement.expressions[0]));
  NIBBLE_TRY(auto items, Iterate(budget_, source));
  if (statement.expressions.size() == 1) return items;
  std::vector<Value> kept;
  PushScope();
  for (const Value& item : items->items) {
    NIBBLE_RETURN_IF_ERROR(Assign(statement.targets[0], item));
    NIBBLE_TRY(const Value condition, Evaluate(*statement.expressions[1]));
    if (condition.Truth()) kept.push_back(item);
  }
  PopScope();
  NIBBLE_TRY(const Value list, MakeList(budget_, std::move(kept)));
  return list.ListPointer();
}

Result<Interpreter::Flow> Interpreter::RunFor(const Statement& statement) {
  NIBBLE_TRY(const auto items, LoopItems(statement));
  if (items->items.empty()) {
    if (statement.blocks.size() < 2) return Flow::kNext;
    PushScope();
    auto flow = Run(statement.blocks[1]);
    PopScope();
    return flow;
  }
  auto loop = std::make_shared<Loop>();
  loop->items = items;
  loop->depth = loop_depth_++;
  PushScope();
  for (size_t i = 0; i < items->items.size(); ++i) {
    NIBBLE_RETURN_IF_ERROR(budget_.Spend());
    if (scope_.use_count() > 1) {  // a macro of the last turn keeps that turn's variables
      PopScope();
      PushScope();
    } else {
      scope_->variables.clear();
    }
    loop->index = i;
    scope_->Set(statement.symbol, Value(loop));
    NIBBLE_RETURN_IF_ERROR(Assign(statement.targets[0], items->items[i]));
    NIBBLE_TRY(const Flow flow, Run(statement.blocks[0]));
    if (flow == Flow::kBreak) break;
  }
  PopScope();
  --loop_depth_;
  return Flow::kNext;
}

Status Interpreter::Assign(const Target& target, const Value& value) {
  if (!target.parts.empty()) {
    NIBBLE_TRY(const auto items, Iterate(budget_, value));
    const size_t want = target.parts.size(), got = items->items.size();
    if (got < want) return Corrupt("not enough values to unpack (expected {}, got {})", want, got);
    if (got > want) return Corrupt("too many values to unpack (expected {})", want);
    for (size_t i = 0; i < want; ++i) NIBBLE_RETURN_IF_ERROR(Assign(target.parts[i], items->items[i]));
    return {};
  }
  if (target.attribute.empty()) {
    scope_->Set(target.symbol, value);
    return {};
  }
  const Value* object = scope_->Find(target.symbol);
  const auto* space = object ? object->As<std::shared_ptr<Namespace>>() : nullptr;
  if (!space) return Corrupt("cannot assign attribute on non-namespace object");
  NIBBLE_RETURN_IF_ERROR(budget_.Allocate(sizeof(Value) + target.attribute.size()));
  for (auto& [name, known] : (*space)->items) {
    if (name != target.attribute) continue;
    known = value;
    return {};
  }
  (*space)->items.emplace_back(target.attribute, value);
  return {};
}

Status Interpreter::RunSet(const Statement& statement) {
  if (statement.type == StatementType::kSet) {
    NIBBLE_TRY(const Value value, Evaluate(*statement.expressions[0]));
    return Assign(statement.targets[0], value);
  }
  NIBBLE_TRY(auto text, Capture(statement.blocks[0]));
  if (statement.expressions.empty()) return Assign(statement.targets[0], Value(std::move(text)));
  const Restore<Value> restore(filter_input_);
  filter_input_ = Value(std::move(text));
  NIBBLE_TRY(const Value value, Evaluate(*statement.expressions[0]));
  return Assign(statement.targets[0], value);
}

Result<std::string> Interpreter::Capture(const Block& block) {
  std::string text;
  const Restore<std::string*> restore(out_);
  out_ = &text;
  PushScope();
  NIBBLE_RETURN_IF_ERROR(Run(block));
  PopScope();
  return text;
}

Status Interpreter::RunWith(const Statement& statement) {
  NIBBLE_TRY(auto values, EvaluateAll(statement.expressions));
  PushScope();
  for (size_t i = 0; i < values.size(); ++i) NIBBLE_RETURN_IF_ERROR(Assign(statement.targets[i], values[i]));
  NIBBLE_RETURN_IF_ERROR(Run(statement.blocks[0]));
  PopScope();
  return {};
}

Status Interpreter::RunCall(const Statement& statement) {
  const Expression& call = *statement.expressions.back();
  NIBBLE_TRY(const Value callee, Evaluate(*call.children[0]));
  NIBBLE_TRY(Arguments arguments, EvaluateArguments(call));
  NIBBLE_RETURN_IF_ERROR(budget_.Allocate(512));
  arguments.keyword.emplace_back("caller", MakeMacro(statement, statement.parameters.size()));
  NIBBLE_TRY(const Value value, Call(callee, arguments));
  NIBBLE_TRY(const std::string text, ToStr(budget_, value));
  return Write(text);
}

Value Interpreter::MakeMacro(const Statement& statement, size_t parameters) {
  // A macro that held its scope would be held by it: the interpreter keeps the scope, the macro a weak reference.
  kept_scopes_.push_back(scope_);
  auto macro = std::make_shared<Callable>();
  macro->name = statement.text.empty() ? "caller" : statement.text;
  macro->call = [&statement, parameters, home = std::weak_ptr<Scope>(scope_)](Interpreter& interpreter, Arguments& arguments) {
    return interpreter.RunMacro(statement, parameters, home.lock(), arguments);
  };
  return Value(std::shared_ptr<const Callable>(std::move(macro)));
}

Result<Value> Interpreter::RunMacro(const Statement& statement, size_t parameters, const std::shared_ptr<Scope>& home,
                                    Arguments& arguments) {
  const Restore<std::shared_ptr<Scope>> restore_scope(scope_);
  const Restore<std::string*> restore_out(out_);
  std::string text;
  scope_ = home;
  PushScope();
  out_ = &text;
  NIBBLE_RETURN_IF_ERROR(BindParameters(statement, parameters, arguments));
  NIBBLE_RETURN_IF_ERROR(Run(statement.blocks[0]));
  return MakeText(budget_, std::move(text));
}

Status Interpreter::BindParameters(const Statement& statement, size_t parameters, Arguments& arguments) {
  const auto find_symbol = [&](std::string_view name) {
    const auto it = std::find(tree_.symbols.begin(), tree_.symbols.end(), name);
    return it == tree_.symbols.end() ? -1 : static_cast<int>(it - tree_.symbols.begin());
  };
  const std::string& name = statement.text.empty() ? std::string("caller") : statement.text;
  const int varargs = find_symbol("varargs"), kwargs = find_symbol("kwargs"), caller = find_symbol("caller");
  if (arguments.positional.size() > parameters && varargs < 0) {
    return Corrupt("macro '{}' takes not more than {} argument(s)", name, parameters);
  }
  for (size_t i = 0; i < parameters; ++i) {
    const std::string& parameter = statement.parameters[i].first;
    const int symbol = statement.parameters[i].second;
    const auto keyword =
        std::find_if(arguments.keyword.begin(), arguments.keyword.end(), [&](const auto& k) { return k.first == parameter; });
    if (i < arguments.positional.size()) {
      if (keyword != arguments.keyword.end()) return Corrupt("macro '{}' got multiple values for argument '{}'", name, parameter);
      scope_->Set(symbol, arguments.positional[i]);
    } else if (keyword != arguments.keyword.end()) {
      scope_->Set(symbol, keyword->second);
      arguments.keyword.erase(keyword);
    } else if (statement.expressions[i]) {
      NIBBLE_TRY(auto value, Evaluate(*statement.expressions[i]));
      scope_->Set(symbol, std::move(value));
    } else {
      scope_->Set(symbol, Value::MakeUndefined(fmt::format("parameter '{}' was not provided", parameter)));
    }
  }
  std::vector<std::pair<Value, Value>> rest;
  for (auto& [keyword, value] : arguments.keyword) {
    if (keyword == "caller" && caller >= 0) {
      scope_->Set(caller, value);
    } else if (kwargs >= 0) {
      rest.emplace_back(Value(keyword), value);
    } else {
      return Corrupt("macro '{}' takes no keyword argument '{}'", name, keyword);
    }
  }
  if (kwargs >= 0) {
    NIBBLE_TRY(auto value, MakeDict(budget_, std::move(rest)));
    scope_->Set(kwargs, std::move(value));
  }
  if (varargs >= 0) {
    std::vector<Value> more;
    for (size_t i = parameters; i < arguments.positional.size(); ++i) more.push_back(arguments.positional[i]);
    NIBBLE_TRY(auto value, MakeList(budget_, std::move(more), List::Type::kTuple));
    scope_->Set(varargs, std::move(value));
  }
  return {};
}

}  // namespace nibble::jinja
