// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/jinja/value.h"

#include <algorithm>
#include <cmath>

#include "tokenizers/unicode.h"

namespace nibble::jinja {
namespace {

constexpr size_t kValueBytes = sizeof(Value);
constexpr size_t kIndexedDict = 8;  // smaller dicts are searched in order

template <typename T>
bool Holds(const Value& value) {
  return value.As<std::shared_ptr<T>>() != nullptr;
}

}  // namespace

const List* Value::AsList() const {
  const auto* list = As<std::shared_ptr<List>>();
  return list ? list->get() : nullptr;
}
const Dict* Value::AsDict() const {
  const auto* dict = As<std::shared_ptr<Dict>>();
  return dict ? dict->get() : nullptr;
}
std::shared_ptr<List> Value::ListPointer() const {
  const auto* list = As<std::shared_ptr<List>>();
  return list ? *list : nullptr;
}
int64_t Value::Integer() const { return IsBool() ? static_cast<int64_t>(std::get<bool>(data_)) : std::get<int64_t>(data_); }
double Value::Number() const { return IsFloat() ? std::get<double>(data_) : static_cast<double>(Integer()); }
std::string_view Value::UndefinedMessage() const {
  const auto* undefined = As<Undefined>();
  return undefined && undefined->message ? std::string_view(*undefined->message) : std::string_view("value is undefined");
}

bool Value::Truth() const {
  if (IsUndefined() || IsNone()) return false;
  if (IsInteger()) return Integer() != 0;
  if (IsFloat()) return Number() != 0;
  if (IsString()) return !Str().empty();
  if (const List* list = AsList()) return list->type == List::Type::kGenerator || !list->items.empty();
  if (const Dict* dict = AsDict()) return !dict->items.empty();
  return true;
}

int Value::Depth() const {
  if (const List* list = AsList()) return list->depth;
  if (const Dict* dict = AsDict()) return dict->depth;
  return 0;
}

size_t Value::Size() const {
  if (IsString()) return Str().size();
  if (const List* list = AsList()) return list->items.size() * kValueBytes;
  if (const Dict* dict = AsDict()) return dict->items.size() * kValueBytes;
  return 0;
}

bool HashKey(const Value& key, std::string& out) {
  if (key.IsString()) {
    out.assign(1, 's').append(key.Str());
  } else if (key.IsInteger()) {
    out = fmt::format("i{}", key.Integer());
  } else if (key.IsBigInteger()) {
    out = fmt::format("i{}", key.As<BigInteger>()->value);
  } else if (key.IsFloat()) {
    const double number = key.Number();
    out = std::trunc(number) == number && std::abs(number) < 9e15 ? fmt::format("i{}", static_cast<int64_t>(number))
                                                                  : fmt::format("f{}", number);
  } else if (key.IsNone()) {
    out.assign(1, 'n');
  } else {
    return false;
  }
  return true;
}

const Value* Dict::Find(std::string_view key) const {
  if (items.size() > kIndexedDict) {
    const auto it = index.find(std::string(1, 's').append(key));
    return it == index.end() ? nullptr : &items[it->second].second;
  }
  for (const auto& [name, value] : items) {
    if (name.IsString() && name.Str() == key) return &value;
  }
  return nullptr;
}

const Value* Dict::FindKey(const Value& key) const {
  std::string hash;
  if (!HashKey(key, hash)) return nullptr;
  const auto it = index.find(hash);
  return it == index.end() ? nullptr : &items[it->second].second;
}

void Dict::Set(const Value& key, Value value) {
  std::string hash;
  if (!HashKey(key, hash)) return;
  depth = std::max({depth, key.Depth() + 1, value.Depth() + 1});
  const auto [it, is_new] = index.emplace(std::move(hash), items.size());
  if (is_new) {
    items.emplace_back(key, std::move(value));
  } else {
    items[it->second].second = std::move(value);
  }
}

const char* TypeName(const Value& value) {
  if (value.IsUndefined()) return "Undefined";
  if (value.IsNone()) return "NoneType";
  if (value.IsBool()) return "bool";
  if (value.IsInteger() || value.IsBigInteger()) return "int";
  if (value.IsFloat()) return "float";
  if (value.IsString()) return value.As<Text>()->markup ? "Markup" : "str";
  if (value.IsDict()) return "dict";
  if (const List* list = value.AsList()) {
    static constexpr const char* kNames[] = {"list", "tuple", "generator", "range", "dict_keys", "dict_values", "dict_items"};
    return kNames[static_cast<size_t>(list->type)];
  }
  if (Holds<Namespace>(value)) return "Namespace";
  if (Holds<Loop>(value)) return "LoopContext";
  return "function";
}

std::string ObjectName(const Value& value) {
  if (value.IsNone()) return "None";
  if (Holds<Namespace>(value)) return "jinja2.utils.Namespace object";
  if (Holds<Loop>(value)) return "jinja2.runtime.LoopContext object";
  return std::string(TypeName(value)) + " object";
}

Result<Value> MakeList(Budget& budget, std::vector<Value> items, List::Type type) {
  NIBBLE_RETURN_IF_ERROR(budget.Allocate((items.size() + 2) * kValueBytes));
  auto list = std::make_shared<List>();
  list->type = type;
  for (const Value& item : items) list->depth = std::max(list->depth, item.Depth() + 1);
  if (list->depth > kMaxValueDepth) return Fail(Code::kResourceExhausted, "a list nested deeper than {}", kMaxValueDepth);
  list->items = std::move(items);
  return Value(std::move(list));
}

Result<Value> MakeDict(Budget& budget, std::vector<std::pair<Value, Value>> items) {
  NIBBLE_RETURN_IF_ERROR(budget.Allocate((items.size() + 2) * 4 * kValueBytes));
  auto dict = std::make_shared<Dict>();
  for (auto& [key, value] : items) {
    std::string hash;
    if (!HashKey(key, hash)) return Corrupt("unhashable type: '{}'", TypeName(key));
    NIBBLE_RETURN_IF_ERROR(budget.Allocate(hash.size()));
    dict->Set(key, std::move(value));
  }
  if (dict->depth > kMaxValueDepth) return Fail(Code::kResourceExhausted, "a dict nested deeper than {}", kMaxValueDepth);
  return Value(std::move(dict));
}

Result<Value> MakeText(Budget& budget, std::string text, bool markup) {
  NIBBLE_RETURN_IF_ERROR(budget.Allocate(text.size() + kValueBytes));
  return Value(std::move(text), markup);
}

Result<Value> FromJson(Budget& budget, const OrderedJson& json, int depth) {
  if (depth > kMaxValueDepth) return Fail(Code::kResourceExhausted, "a variable nested deeper than {}", kMaxValueDepth);
  if (json.is_null()) return Value(None{});
  if (json.is_boolean()) return Value(json.get<bool>());
  if (json.is_number_unsigned() && json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    return Value(BigInteger{json.get<uint64_t>()});
  if (json.is_number_integer()) return Value(json.get<int64_t>());
  if (json.is_number_float()) return Value(json.get<double>());
  if (json.is_string()) return MakeText(budget, unicode::Sanitize(json.get_ref<const std::string&>()));
  if (json.is_array()) {
    std::vector<Value> items;
    for (const auto& item : json) {
      NIBBLE_TRY(auto value, FromJson(budget, item, depth + 1));
      items.push_back(std::move(value));
    }
    return MakeList(budget, std::move(items));
  }
  if (!json.is_object()) return Corrupt("a variable is neither null, boolean, number, text, list nor object");
  std::vector<std::pair<Value, Value>> items;
  for (const auto& [key, item] : json.items()) {
    NIBBLE_TRY(auto value, FromJson(budget, item, depth + 1));
    items.emplace_back(Value(unicode::Sanitize(key)), std::move(value));
  }
  return MakeDict(budget, std::move(items));
}

Result<bool> Equal(Budget& budget, const Value& a, const Value& b) {
  NIBBLE_RETURN_IF_ERROR(budget.Spend(std::min(a.Size(), b.Size())));
  if (a.IsNumber() && b.IsNumber()) {
    return a.IsInteger() && b.IsInteger() ? a.Integer() == b.Integer() : a.Number() == b.Number();
  }
  if (a.IsString() && b.IsString()) return a.Str() == b.Str();
  if (a.IsBigInteger() && b.IsBigInteger()) return a.As<BigInteger>()->value == b.As<BigInteger>()->value;
  if (a.IsUndefined() || b.IsUndefined()) return a.IsUndefined() && b.IsUndefined();
  if (a.IsNone() || b.IsNone()) return a.IsNone() && b.IsNone();
  const List *x = a.AsList(), *y = b.AsList();
  if (x && y) {
    if (x == y) return true;
    if (x->type != y->type || x->type == List::Type::kGenerator || x->items.size() != y->items.size()) return false;
    for (size_t i = 0; i < x->items.size(); ++i) {
      NIBBLE_TRY(const bool same, Equal(budget, x->items[i], y->items[i]));
      if (!same) return false;
    }
    return true;
  }
  if (a.IsDict() && b.IsDict()) {
    if (a.AsDict() == b.AsDict()) return true;
    if (a.AsDict()->items.size() != b.AsDict()->items.size()) return false;
    for (const auto& [key, value] : a.AsDict()->items) {
      const Value* other = b.AsDict()->FindKey(key);
      if (!other) return false;
      NIBBLE_TRY(const bool same, Equal(budget, value, *other));
      if (!same) return false;
    }
    return true;
  }
  const auto same_pointer = [&]<typename T>(const std::shared_ptr<T>*) {
    const auto *left = a.As<std::shared_ptr<T>>(), *right = b.As<std::shared_ptr<T>>();
    return left && right && *left == *right;
  };
  return same_pointer(static_cast<std::shared_ptr<Namespace>*>(nullptr)) ||
         same_pointer(static_cast<std::shared_ptr<Loop>*>(nullptr)) ||
         same_pointer(static_cast<std::shared_ptr<const Callable>*>(nullptr));
}

Result<bool> Less(Budget& budget, const Value& a, const Value& b, const char* sign) {
  NIBBLE_RETURN_IF_ERROR(budget.Spend(std::min(a.Size(), b.Size())));
  if (a.IsNumber() && b.IsNumber()) return a.IsInteger() && b.IsInteger() ? a.Integer() < b.Integer() : a.Number() < b.Number();
  if (a.IsString() && b.IsString()) return a.Str() < b.Str();  // UTF-8 sorts as its code points
  if (a.IsUndefined() || b.IsUndefined()) return Corrupt("{}", (a.IsUndefined() ? a : b).UndefinedMessage());
  const List *x = a.AsList(), *y = b.AsList();
  if (x && y && x->type == y->type && (x->type == List::Type::kList || x->type == List::Type::kTuple)) {
    for (size_t i = 0; i < std::min(x->items.size(), y->items.size()); ++i) {
      NIBBLE_TRY(const bool same, Equal(budget, x->items[i], y->items[i]));
      if (!same) return Less(budget, x->items[i], y->items[i], sign);
    }
    return x->items.size() < y->items.size();
  }
  // The caller exchanged the sides of > and <=.
  const bool exchanged = sign[0] == '>' ? sign[1] == '\0' : sign[1] == '=';
  return Corrupt("'{}' not supported between instances of '{}' and '{}'", sign, TypeName(exchanged ? b : a),
                 TypeName(exchanged ? a : b));
}

Result<std::shared_ptr<const List>> Iterate(Budget& budget, const Value& value) {
  if (const auto list = value.ListPointer()) {
    if (list->type != List::Type::kGenerator) return list;
    if (std::exchange(list->consumed, true)) return std::make_shared<const List>();
    if (!list->error.empty()) return Corrupt("{}", list->error);
    return list;
  }
  std::vector<Value> items;
  if (value.IsString()) {
    const std::string& text = value.Str();
    NIBBLE_RETURN_IF_ERROR(budget.Allocate(text.size() * 2 * kValueBytes));
    for (size_t pos = 0; pos < text.size();) {
      const size_t begin = pos;
      unicode::Next(text, pos);
      items.emplace_back(text.substr(begin, pos - begin));
    }
  } else if (value.IsDict()) {
    for (const auto& [key, ignored] : value.AsDict()->items) items.push_back(key);
  } else if (const auto* loop = value.As<std::shared_ptr<Loop>>()) {
    items = (*loop)->items->items;
  } else if (!value.IsUndefined()) {
    return Corrupt("'{}' object is not iterable", TypeName(value));
  }
  NIBBLE_TRY(const Value list, MakeList(budget, std::move(items)));
  return list.ListPointer();
}

Result<size_t> LengthOf(Budget& budget, const Value& value) {
  if (value.IsString()) {
    NIBBLE_RETURN_IF_ERROR(budget.Spend(value.Size()));
    return unicode::Length(value.Str());
  }
  if (const List* list = value.AsList(); list && list->type != List::Type::kGenerator) return list->items.size();
  if (const Dict* dict = value.AsDict()) return dict->items.size();
  if (value.IsUndefined()) return size_t{0};
  if (const auto* loop = value.As<std::shared_ptr<Loop>>()) return (*loop)->items->items.size();
  return Corrupt("object of type '{}' has no len()", TypeName(value));
}

}  // namespace nibble::jinja
