// SPDX-License-Identifier: Apache-2.0
// Filters, tests and methods that templates may use. Each table is the whole list: what is not there does not exist.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/jinja/interpreter.h"
#include "tokenizers/jinja/value.h"

namespace nibble::jinja {

using Filter = Result<Value> (*)(Interpreter&, const Value& input, const Arguments&);
using Test = Result<bool> (*)(Interpreter&, const Value& input, const Arguments&);
using Method = Result<Value> (*)(Interpreter&, const Value& self, const Arguments&);

Result<Value> ApplyFilter(Interpreter& interpreter, const std::string& name, const Value& input, const Arguments& arguments);
Result<bool> ApplyTest(Interpreter& interpreter, const std::string& name, const Value& input, const Arguments& arguments);
// The method `name` of a text, list or dict; nullptr when it has none.
Method FindMethod(const Value& self, std::string_view name);
Method FindTextMethod(std::string_view name);
// Whether Python's object has it but the sandbox forbids it, because it changes the object (list.append).
bool IsForbiddenMethod(const Value& self, std::string_view name);

// A parameter of a filter, method or function and its value when the call leaves it out; without one the call must give it.
struct Parameter {
  const char* name;
  std::optional<Value> fallback;
};
// Values in the order of `parameters`. Errors as Python's: too many, unknown keyword, missing.
Result<std::vector<Value>> Bind(const std::string& function, const Arguments& arguments,
                                std::initializer_list<Parameter> parameters);
// An integer argument, or an error naming the function.
Result<int64_t> ToInteger(const std::string& function, const Value& value);
Result<std::string> ToText(const std::string& function, const Value& value);

// json.dumps of Python. indent < 0: one line.
struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false;
  bool has_indent = false;
  std::string indent;  // of one level
  std::string item_separator = ", ", key_separator = ": ";
};
Result<std::string> DumpJson(Budget& budget, const Value& value, const JsonStyle& style);

// a + b and so on; `sign` is one of + - * / // % **.
Result<Value> Arithmetic(Budget& budget, std::string_view sign, const Value& a, const Value& b);
Result<bool> Contains(Budget& budget, const Value& container, const Value& item);
// container[start:stop:step]; each bound may be None.
Result<Value> Slice(Budget& budget, const Value& container, const Value& start, const Value& stop, const Value& step);
std::string EscapeHtml(std::string_view text);

}  // namespace nibble::jinja
