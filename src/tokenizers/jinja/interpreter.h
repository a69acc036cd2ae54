// SPDX-License-Identifier: Apache-2.0
// Walks the tree of a template. One Interpreter renders once.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizers/jinja/ast.h"
#include "tokenizers/jinja/budget.h"
#include "tokenizers/jinja/value.h"

namespace nibble::jinja {

// Variables of one block. Macros remember the scope they were written in, so a scope may outlive its block.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<int, Value>> variables;

  Value* FindHere(int symbol);
  Value* Find(int symbol);
  void Set(int symbol, Value value);
};

class Interpreter {
 public:
  Interpreter(const Template& tree, const Limits& limits, const std::tm& now) : tree_(tree), budget_(limits), now_(now) {}
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;

  // `variables` is an object.
  Result<std::string> Render(const OrderedJson& variables);

  // Line of the template that was evaluated last: where an error happened.
  int line() const { return line_; }

  // For filters, tests, methods and functions:
  Budget& budget() { return budget_; }
  const std::tm& now() const { return now_; }
  Result<Value> Call(const Value& callee, Arguments& arguments);
  Result<Value> Attribute(const Value& object, const std::string& name);  // object.name
  Result<Value> Item(const Value& object, const Value& key);              // object[key]
  // Namespaces can form cycles; those made here are taken apart at the end.
  Value KeepNamespace(std::shared_ptr<Namespace> space);

 private:
  enum class Flow : unsigned char { kNext, kBreak, kContinue };

  // statements (interpreter.cc)
  Result<Flow> Run(const Block& block);
  Result<Flow> RunOne(const Statement& statement);
  Result<Flow> RunFor(const Statement& statement);
  Result<std::shared_ptr<const List>> LoopItems(const Statement& statement);
  Status RunSet(const Statement& statement);
  Status RunCall(const Statement& statement);
  Status RunWith(const Statement& statement);
  Result<std::string> Capture(const Block& block);  // in a scope of its own
  Status Assign(const Target& target, const Value& value);
  Status Write(std::string_view text);
  Value MakeMacro(const Statement& statement, size_t parameters);
  Result<Value> RunMacro(const Statement& statement, size_t parameters, const std::shared_ptr<Scope>& home, Arguments& arguments);
  Status BindParameters(const Statement& statement, size_t parameters, Arguments& arguments);
  void PushScope();
  void PopScope();

  // expressions (evaluate.cc)
  Result<Value> Evaluate(const Expression& node);
  Result<Value> EvaluateInner(const Expression& node);
  Result<Value> EvaluateName(const Expression& node);
  Result<std::vector<Value>> EvaluateAll(const std::vector<ExpressionPtr>& nodes, size_t first = 0);
  Result<Value> EvaluateDict(const Expression& node);
  Result<Value> EvaluateSlice(const Expression& node);
  Result<Value> EvaluateCall(const Expression& node);
  Result<Value> EvaluateFilter(const Expression& node);
  Result<Value> EvaluateTest(const Expression& node);
  Result<Value> EvaluateArithmetic(const Expression& node);
  Result<Value> EvaluateConcat(const Expression& node);
  Result<Value> EvaluateCompare(const Expression& node);
  Result<Value> EvaluateChoice(const Expression& node);
  Result<Arguments> EvaluateArguments(const Expression& node);

  const Template& tree_;
  Budget budget_;
  const std::tm now_;
  std::shared_ptr<Scope> scope_;
  std::string output_;
  std::string* out_ = &output_;
  Value filter_input_;  // what the innermost filter of {% filter %} or {% set x | f %} gets
  int depth_ = 0;
  int line_ = 0;
  int loop_depth_ = 0;
  std::vector<std::shared_ptr<Scope>> kept_scopes_;  // of macros, which refer to them weakly
  std::vector<std::shared_ptr<Namespace>> kept_namespaces_;
};

// Globals: namespace, range, dict, raise_exception, strftime_now, joiner.
std::vector<std::pair<std::string, Value>> GlobalFunctions();

}  // namespace nibble::jinja
