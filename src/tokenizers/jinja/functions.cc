// SPDX-License-Identifier: Apache-2.0
// The functions a chat template finds: those of Jinja and the two that transformers adds.
#include <ctime>

#include "tokenizers/jinja/library.h"

namespace nibble::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // as Jinja's sandbox

Result<Value> MakeNamespace(Interpreter& interpreter, Arguments& arguments) {
  auto space = std::make_shared<Namespace>();
  const auto set = [&](const std::string& name, const Value& value) {
    for (auto& [known, old] : space->items) {
      if (known != name) continue;
      old = value;
      return;
    }
    space->items.emplace_back(name, value);
  };
  if (arguments.positional.size() > 1) return Corrupt("namespace() takes at most 1 positional argument");
  if (!arguments.positional.empty()) {
    const Dict* dict = arguments.positional[0].AsDict();
    if (!dict) return Corrupt("namespace(): '{}' object is not a mapping", TypeName(arguments.positional[0]));
    for (const auto& [key, value] : dict->items) {
      NIBBLE_RETURN_IF_ERROR(interpreter.budget().Spend(dict->items.size() * sizeof(Value)));
      if (key.IsString()) set(key.Str(), value);
    }
  }
  for (const auto& [name, value] : arguments.keyword) set(name, value);
  NIBBLE_RETURN_IF_ERROR(interpreter.budget().Allocate(256 + space->items.size() * 2 * sizeof(Value)));
  return interpreter.KeepNamespace(std::move(space));
}

Result<Value> RangeFunction(Interpreter& interpreter, Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("range", arguments, {{"start", std::nullopt}, {"stop", None{}}, {"step", Value(1)}}));
  NIBBLE_TRY(int64_t start, ToInteger("range", values[0]));
  int64_t stop = start;
  if (values[1].IsNone()) {
    start = 0;
  } else {
    NIBBLE_TRY(stop, ToInteger("range", values[1]));
  }
  NIBBLE_TRY(const int64_t step, ToInteger("range", values[2]));
  if (step == 0) return Corrupt("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (__int128 at = start; step > 0 ? at < stop : at > stop; at += step) {
    if (static_cast<int64_t>(items.size()) >= kMaxRange) {
      return Corrupt("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMaxRange);
    }
    items.emplace_back(static_cast<int64_t>(at));
  }
  return MakeList(interpreter.budget(), std::move(items), List::Type::kRange);
}

Result<Value> DictFunction(Interpreter& interpreter, Arguments& arguments) {
  std::vector<std::pair<Value, Value>> items;
  if (arguments.positional.size() > 1) return Corrupt("dict expected at most 1 argument, got {}", arguments.positional.size());
  if (!arguments.positional.empty()) {
    if (const Dict* dict = arguments.positional[0].AsDict()) {
      items = dict->items;
    } else {
      NIBBLE_TRY(const auto list, Iterate(interpreter.budget(), arguments.positional[0]));
      for (const Value& pair : list->items) {
        NIBBLE_TRY(const auto two, Iterate(interpreter.budget(), pair));
        if (two->items.size() != 2) return Corrupt("dict(): an item is not a pair");
        items.emplace_back(two->items[0], two->items[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.keyword) items.emplace_back(Value(name), value);
  return MakeDict(interpreter.budget(), std::move(items));
}

Result<Value> RaiseException(Interpreter& interpreter, Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("raise_exception", arguments, {{"message", std::nullopt}}));
  NIBBLE_TRY(const std::string text, ToStr(interpreter.budget(), values[0]));
  return Corrupt("{}", text);
}

Result<Value> StrftimeNow(Interpreter& interpreter, Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("strftime_now", arguments, {{"format", std::nullopt}}));
  NIBBLE_TRY(const std::string format, ToText("strftime_now", values[0]));
  if (format.empty()) return Value("");
  char text[4096];
  const size_t size = std::strftime(text, sizeof text, format.c_str(), &interpreter.now());
  if (size == 0)
    return Corrupt("strftime_now: format \"{}\" gives no text or one over {} bytes", format.substr(0, 80), sizeof text);
  return MakeText(interpreter.budget(), std::string(text, size));
}

Value Function(const char* name, Result<Value> (*call)(Interpreter&, Arguments&)) {
  auto function = std::make_shared<Callable>();
  function->name = name;
  function->call = call;
  return Value(std::shared_ptr<const Callable>(std::move(function)));
}

// joiner(", ") gives nothing the first time and its text from then on.
Result<Value> Joiner(Interpreter&, Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("joiner", arguments, {{"sep", Value(", ")}}));
  auto joiner = std::make_shared<Callable>();
  joiner->name = "joiner";
  joiner->call = [text = values[0], used = std::make_shared<bool>(false)](Interpreter&, Arguments&) -> Result<Value> {
    return std::exchange(*used, true) ? text : Value("");
  };
  return Value(std::shared_ptr<const Callable>(std::move(joiner)));
}

}  // namespace

std::vector<std::pair<std::string, Value>> GlobalFunctions() {
  return {{"namespace", Function("namespace", MakeNamespace)},
          {"range", Function("range", RangeFunction)},
          {"dict", Function("dict", DictFunction)},
          {"raise_exception", Function("raise_exception", RaiseException)},
          {"strftime_now", Function("strftime_now", StrftimeNow)},
          {"joiner", Function("joiner", Joiner)}};
}

}  // namespace nibble::jinja
