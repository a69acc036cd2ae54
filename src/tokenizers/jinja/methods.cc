// SPDX-License-Identifier: Apache-2.0
// Methods of lists and dicts; those of texts are in text_methods.cc.
#include <algorithm>
#include <unordered_map>

#include "tokenizers/jinja/library.h"

namespace nibble::jinja {
namespace {

using Table = std::unordered_map<std::string_view, Method>;

Result<Value> DictGet(Interpreter&, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("get", arguments, {{"key", std::nullopt}, {"default", None{}}}));
  const Value* value = self.AsDict()->FindKey(values[0]);
  return value ? *value : values[1];
}
Result<Value> DictItems(Interpreter& interpreter, const Value& self, const Arguments&) {
  std::vector<Value> pairs;
  for (const auto& [key, value] : self.AsDict()->items) {
    NIBBLE_TRY(auto pair, MakeList(interpreter.budget(), {key, value}, List::Type::kTuple));
    pairs.push_back(std::move(pair));
  }
  return MakeList(interpreter.budget(), std::move(pairs), List::Type::kItems);
}
template <bool keys>
Result<Value> DictSide(Interpreter& interpreter, const Value& self, const Arguments&) {
  std::vector<Value> items;
  for (const auto& [key, value] : self.AsDict()->items) items.push_back(keys ? key : value);
  return MakeList(interpreter.budget(), std::move(items), keys ? List::Type::kKeys : List::Type::kValues);
}
Result<Value> Copy(Interpreter&, const Value& self, const Arguments&) { return self; }  // values never change

Result<Value> ListIndex(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("index", arguments, {{"value", std::nullopt}}));
  const auto& items = self.AsList()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    NIBBLE_TRY(const bool same, Equal(interpreter.budget(), items[i], values[0]));
    if (same) return Value(i);
  }
  NIBBLE_TRY(const std::string shown, ToRepr(interpreter.budget(), values[0]));
  return Corrupt("{} is not in list", shown);
}
Result<Value> ListCount(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("count", arguments, {{"value", std::nullopt}}));
  int64_t count = 0;
  for (const Value& item : self.AsList()->items) {
    NIBBLE_TRY(const bool same, Equal(interpreter.budget(), item, values[0]));
    count += same;
  }
  return Value(count);
}

}  // namespace

Method FindMethod(const Value& self, std::string_view name) {
  static const Table dict = {
      {"get", DictGet}, {"items", DictItems}, {"keys", DictSide<true>}, {"values", DictSide<false>}, {"copy", Copy}};
  static const Table list = {{"index", ListIndex}, {"count", ListCount}, {"copy", Copy}};
  static const Table none;
  const Table* table = &none;
  if (self.IsString()) return FindTextMethod(name);
  if (self.IsDict()) table = &dict;
  if (const List* items = self.AsList()) {
    if (items->type == List::Type::kList || (items->type == List::Type::kTuple && name != "copy")) table = &list;
  }
  const auto it = table->find(name);
  return it == table->end() ? nullptr : it->second;
}

bool IsForbiddenMethod(const Value& self, std::string_view name) {
  const auto among = [name](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (self.IsDict()) return among({"clear", "pop", "popitem", "setdefault", "update"});
  const List* list = self.AsList();
  return list && list->type == List::Type::kList &&
         among({"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"});
}

}  // namespace nibble::jinja
