// SPDX-License-Identifier: Apache-2.0
// Values of a template: those of Python that Jinja templates meet. Cheap to copy: everything large is shared and never changes, but
// for namespaces and the position of a generator.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "io/json.h"
#include "tokenizers/jinja/budget.h"

namespace nibble::jinja {

class Value;
class Interpreter;

struct None {};
// A name or attribute that is not there. Prints as nothing; `message` is raised when it is called, added, compared by order ...
struct Undefined {
  std::shared_ptr<const std::string> message;
};
struct Text {
  std::shared_ptr<const std::string> text;
  bool markup = false;  // the result of `safe`: "+" escapes what it is joined with
};
// An integer from 2^63 to 2^64-1, which JSON may hold (an id). Prints and compares; no arithmetic.
struct BigInteger {
  uint64_t value;
};
// Everything with items in order. A generator gives its items once.
struct List {
  enum class Type : unsigned char { kList, kTuple, kGenerator, kRange, kKeys, kValues, kItems };
  Type type = Type::kList;
  std::vector<Value> items;
  int depth = 1;          // of nesting; bounded, so that recursion over values is
  bool consumed = false;  // generators
  std::string error;      // generators: raised by whoever looks at the items
};
struct Dict {
  std::vector<std::pair<Value, Value>> items;     // in order of insertion
  std::unordered_map<std::string, size_t> index;  // by HashKey
  int depth = 1;

  const Value* Find(std::string_view key) const;
  const Value* FindKey(const Value& key) const;  // nullptr also for a key that cannot be hashed
  void Set(const Value& key, Value value);
};
struct Namespace {
  std::vector<std::pair<std::string, Value>> items;
};
struct Loop {
  std::shared_ptr<const List> items;
  size_t index = 0;
  int depth = 0;
  bool has_changed_value = false;
  std::shared_ptr<Value> last_changed;
};
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
};
struct Callable {
  std::string name;
  std::function<Result<Value>(Interpreter&, Arguments&)> call;
};

class Value {
 public:
  using Data = std::variant<Undefined, None, bool, int64_t, BigInteger, double, Text, std::shared_ptr<List>, std::shared_ptr<Dict>,
                            std::shared_ptr<Namespace>, std::shared_ptr<Loop>, std::shared_ptr<const Callable>>;

  Value() : data_(Undefined{}) {}
  Value(None none) : data_(none) {}
  Value(bool value) : data_(value) {}
  Value(int value) : data_(static_cast<int64_t>(value)) {}
  Value(int64_t value) : data_(value) {}
  Value(size_t value) : data_(static_cast<int64_t>(value)) {}
  Value(BigInteger value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string text, bool markup = false) : data_(Text{std::make_shared<const std::string>(std::move(text)), markup}) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(Text text) : data_(std::move(text)) {}
  Value(std::shared_ptr<List> list) : data_(std::move(list)) {}
  Value(std::shared_ptr<Dict> dict) : data_(std::move(dict)) {}
  Value(std::shared_ptr<Namespace> space) : data_(std::move(space)) {}
  Value(std::shared_ptr<Loop> loop) : data_(std::move(loop)) {}
  Value(std::shared_ptr<const Callable> callable) : data_(std::move(callable)) {}
  static Value MakeUndefined(std::string message) {
    return Value(Undefined{std::make_shared<const std::string>(std::move(message))});
  }

  bool IsUndefined() const { return std::holds_alternative<Undefined>(data_); }
  bool IsNone() const { return std::holds_alternative<None>(data_); }
  bool IsBool() const { return std::holds_alternative<bool>(data_); }
  bool IsString() const { return std::holds_alternative<Text>(data_); }
  bool IsBigInteger() const { return std::holds_alternative<BigInteger>(data_); }
  bool IsFloat() const { return std::holds_alternative<double>(data_); }
  bool IsDict() const { return std::holds_alternative<std::shared_ptr<Dict>>(data_); }
  bool IsInteger() const { return IsBool() || std::holds_alternative<int64_t>(data_); }  // a bool is an int, as in Python
  bool IsNumber() const { return IsInteger() || IsFloat(); }

  template <typename T>
  const T* As() const {
    return std::get_if<T>(&data_);
  }
  const List* AsList() const;
  const Dict* AsDict() const;
  std::shared_ptr<List> ListPointer() const;
  const std::string& Str() const { return *std::get<Text>(data_).text; }  // only if IsString()
  int64_t Integer() const;                                                // only if IsInteger()
  double Number() const;                                                  // only if IsNumber()
  std::string_view UndefinedMessage() const;

  bool Truth() const;
  // Levels of nesting: 0 for a scalar.
  int Depth() const;
  // Bytes of a text, items of a container: what linear work over it costs.
  size_t Size() const;

 private:
  explicit Value(Undefined undefined) : data_(std::move(undefined)) {}
  Data data_;
};

inline constexpr int kMaxValueDepth = 200;

// Python's name of the type: "str", "NoneType", "dict" ...
const char* TypeName(const Value& value);
// As Jinja's messages call it: "dict object", "None".
std::string ObjectName(const Value& value);
// The key of a dict entry; false for an unhashable value.
bool HashKey(const Value& key, std::string& out);

Result<Value> MakeList(Budget& budget, std::vector<Value> items, List::Type type = List::Type::kList);
Result<Value> MakeDict(Budget& budget, std::vector<std::pair<Value, Value>> items);
Result<Value> MakeText(Budget& budget, std::string text, bool markup = false);
Result<Value> FromJson(Budget& budget, const OrderedJson& json, int depth = 0);

Result<bool> Equal(Budget& budget, const Value& a, const Value& b);
// a < b; `sign` is named in the error ("<", ">=" ...).
Result<bool> Less(Budget& budget, const Value& a, const Value& b, const char* sign = "<");
// The items that a loop over `value` sees; characters of a text, keys of a dict. Uses a generator up.
Result<std::shared_ptr<const List>> Iterate(Budget& budget, const Value& value);
Result<size_t> LengthOf(Budget& budget, const Value& value);

// str(value) and repr(value) of Python.
Result<std::string> ToStr(Budget& budget, const Value& value);
Result<std::string> ToRepr(Budget& budget, const Value& value);
std::string FloatText(double value);

}  // namespace nibble::jinja
