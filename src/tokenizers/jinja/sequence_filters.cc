// SPDX-License-Identifier: Apache-2.0
// Filters on sequences and mappings. Those that are lazy in Jinja give a generator here too, although made at once: it can be
// looped over once and has no length.
#include <algorithm>
#include <charconv>

#include "tokenizers/jinja/filters.h"
#include "tokenizers/unicode.h"

namespace nibble::jinja {
namespace {

// A filter that is a generator in Jinja: a false input gives nothing, and an error comes up when somebody looks at the items.
// `make` gives the items.
template <typename Make>
Result<Value> Lazy(Interpreter& interpreter, const Value& input, Make make) {
  Result<std::vector<Value>> items = std::vector<Value>();
  if (input.Truth()) items = make();
  if (items) return MakeList(interpreter.budget(), *std::move(items), List::Type::kGenerator);
  if (items.error().code != Code::kCorrupt) return tl::unexpected<Error>(std::move(items).error());
  auto failed = std::make_shared<List>();
  failed->type = List::Type::kGenerator;
  failed->error = items.error().message;
  return Value(std::move(failed));
}

Result<Value> Length(Interpreter& interpreter, const Value& input, const Arguments&) {
  NIBBLE_TRY(const size_t length, LengthOf(interpreter.budget(), input));
  return Value(length);
}

Result<Value> ToList(Interpreter& interpreter, const Value& input, const Arguments&) {
  NIBBLE_TRY(const auto items, Iterate(interpreter.budget(), input));
  NIBBLE_RETURN_IF_ERROR(interpreter.budget().Allocate(items->items.size() * sizeof(Value)));
  return MakeList(interpreter.budget(), items->items);
}

Result<Value> Items(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  if (input.IsUndefined()) return MakeList(interpreter.budget(), {}, List::Type::kGenerator);
  return Lazy(interpreter, Value(true), [&]() -> Result<std::vector<Value>> {
    if (!input.IsDict()) return Corrupt("Can only get item pairs from a mapping.");
    NIBBLE_TRY(const Value pairs, FindMethod(input, "items")(interpreter, input, arguments));
    return pairs.AsList()->items;
  });
}

// "a.b.0" of an item; each part is a key, an attribute or an index.
Result<Value> Path(Interpreter& interpreter, const Value& item, const Value& path) {
  if (path.IsNone()) return item;
  if (!path.IsString()) return interpreter.Item(item, path);
  Value value = item;
  std::string_view rest = path.Str();
  while (true) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    int64_t index = 0;
    const auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = !part.empty() && part[0] != '-' && error == std::errc() && stop == part.data() + part.size();
    NIBBLE_TRY(value, interpreter.Item(value, is_index ? Value(index) : Value(part)));
    if (dot == rest.npos) return value;
    rest = rest.substr(dot + 1);
  }
}

Result<Value> JoinFilter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("join", arguments, {{"d", Value("")}, {"attribute", None{}}}));
  NIBBLE_TRY(const std::string separator, ToStr(interpreter.budget(), values[0]));
  NIBBLE_TRY(const auto items, Iterate(interpreter.budget(), input));
  std::string out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    NIBBLE_TRY(const Value item, Path(interpreter, items->items[i], values[1]));
    NIBBLE_TRY(const std::string text, ToStr(interpreter.budget(), item));
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().Allocate(separator.size()));
    if (i > 0) out += separator;
    out += text;
  }
  return MakeText(interpreter.budget(), std::move(out));
}

// select, reject (by the item) and selectattr, rejectattr (by an attribute of it): those that pass, or fail, a test or are true.
template <bool keep, bool by_attribute>
Result<std::vector<Value>> Selected(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const size_t first = by_attribute ? 1 : 0;
  if (arguments.positional.size() < first) return Corrupt("Missing parameter for attribute name");
  std::string test;
  Arguments rest;
  if (arguments.positional.size() > first) {
    NIBBLE_TRY(test, ToText("select", arguments.positional[first]));
    rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(first) + 1, arguments.positional.end());
  }
  rest.keyword = arguments.keyword;
  NIBBLE_TRY(const auto items, Iterate(interpreter.budget(), input));
  std::vector<Value> kept;
  for (const Value& item : items->items) {
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().Spend());
    Value subject = item;
    if (by_attribute) {
      NIBBLE_TRY(subject, Path(interpreter, item, arguments.positional[0]));
    }
    bool passes = subject.Truth();
    if (!test.empty()) {
      NIBBLE_TRY(passes, ApplyTest(interpreter, test, subject, rest));
    }
    if (passes == keep) kept.push_back(item);
  }
  return kept;
}
template <bool keep, bool by_attribute>
Result<Value> Select(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  return Lazy(interpreter, input, [&] { return Selected<keep, by_attribute>(interpreter, input, arguments); });
}

// map("filter", arguments ...) or map(attribute="a.b", default=x).
Result<std::vector<Value>> Mapped(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto items, Iterate(interpreter.budget(), input));
  std::vector<Value> out;
  Value path = None{}, fallback;
  Arguments rest;
  std::string filter;
  if (arguments.positional.empty()) {
    NIBBLE_TRY(const auto values, Bind("map", arguments, {{"attribute", std::nullopt}, {"default", Value()}}));
    path = values[0];
    fallback = values[1];
  } else {
    NIBBLE_TRY(filter, ToText("map", arguments.positional[0]));
    rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
    rest.keyword = arguments.keyword;
  }
  for (const Value& item : items->items) {
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().Spend(item.Size()));
    NIBBLE_TRY(Value value, filter.empty() ? Path(interpreter, item, path) : ApplyFilter(interpreter, filter, item, rest));
    if (filter.empty() && value.IsUndefined() && !fallback.IsUndefined()) value = fallback;
    out.push_back(std::move(value));
  }
  return out;
}
Result<Value> Map(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  return Lazy(interpreter, input, [&] { return Mapped(interpreter, input, arguments); });
}

Value FoldCase(const Value& value, bool case_sensitive) {
  return value.IsString() && !case_sensitive ? Value(unicode::Lower(value.Str())) : value;
}

struct Keyed {
  Value key, value;
};

// Stable; comparison errors end it. A merge sort, because std::sort may run out of bounds when an order is inconsistent.
Status SortKeyed(Budget& budget, std::vector<Keyed>& items, bool reverse) {
  std::vector<Keyed> merged(items.size());
  for (size_t width = 1; width < items.size(); width *= 2) {
    for (size_t begin = 0; begin < items.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, items.size()), end = std::min(begin + 2 * width, items.size());
      for (size_t left = begin, right = middle, out = begin; out < end; ++out) {
        bool take_right = left == middle;
        if (left < middle && right < end) {
          const Keyed &a = items[left], &b = items[right];
          NIBBLE_TRY(take_right, reverse ? Less(budget, a.key, b.key) : Less(budget, b.key, a.key));
        }
        merged[out] = items[take_right ? right++ : left++];
      }
    }
    items.swap(merged);
  }
  return {};
}

Result<std::vector<Keyed>> KeyedItems(Interpreter& interpreter, const Value& input, const Value& path, bool case_sensitive) {
  NIBBLE_TRY(const auto items, Iterate(interpreter.budget(), input));
  std::vector<Keyed> keyed;
  for (const Value& item : items->items) {
    NIBBLE_TRY(const Value key, Path(interpreter, item, path));
    NIBBLE_RETURN_IF_ERROR(interpreter.budget().Allocate(key.Size() + sizeof(Keyed)));
    keyed.push_back({FoldCase(key, case_sensitive), item});
  }
  return keyed;
}

Result<Value> Values(Budget& budget, const std::vector<Keyed>& keyed, List::Type type = List::Type::kList) {
  std::vector<Value> items;
  for (const auto& item : keyed) items.push_back(item.value);
  return MakeList(budget, std::move(items), type);
}

Result<Value> Sort(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values,
             Bind("sort", arguments, {{"reverse", Value(false)}, {"case_sensitive", Value(false)}, {"attribute", None{}}}));
  NIBBLE_TRY(auto keyed, KeyedItems(interpreter, input, values[2], values[1].Truth()));
  NIBBLE_RETURN_IF_ERROR(SortKeyed(interpreter.budget(), keyed, values[0].Truth()));
  return Values(interpreter.budget(), keyed);
}

Result<Value> DictSort(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values,
             Bind("dictsort", arguments, {{"case_sensitive", Value(false)}, {"by", Value("key")}, {"reverse", Value(false)}}));
  NIBBLE_TRY(const std::string by, ToText("dictsort", values[1]));
  if (by != "key" && by != "value") return Corrupt("You can only sort by either \"key\" or \"value\"");
  if (input.IsUndefined()) return Corrupt("{}", input.UndefinedMessage());
  if (!input.IsDict()) return Corrupt("'{}' has no attribute 'items'", ObjectName(input));
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : input.AsDict()->items) {
    NIBBLE_TRY(auto pair, MakeList(interpreter.budget(), {key, value}, List::Type::kTuple));
    keyed.push_back({FoldCase(by == "key" ? key : value, values[0].Truth()), std::move(pair)});
  }
  NIBBLE_RETURN_IF_ERROR(SortKeyed(interpreter.budget(), keyed, values[2].Truth()));
  return Values(interpreter.budget(), keyed);
}

Result<Value> Unique(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("unique", arguments, {{"case_sensitive", Value(false)}, {"attribute", None{}}}));
  NIBBLE_TRY(const auto keyed, KeyedItems(interpreter, input, values[1], values[0].Truth()));
  std::unordered_map<std::string, bool> seen;
  std::vector<Value> kept;
  for (const auto& item : keyed) {
    std::string hash;
    if (!HashKey(item.key, hash)) return Corrupt("unhashable type: '{}'", TypeName(item.key));
    if (seen.emplace(std::move(hash), true).second) kept.push_back(item.value);
  }
  return MakeList(interpreter.budget(), std::move(kept), List::Type::kGenerator);
}

template <bool largest>
Result<Value> Extreme(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values,
             Bind(largest ? "max" : "min", arguments, {{"case_sensitive", Value(false)}, {"attribute", None{}}}));
  NIBBLE_TRY(const auto keyed, KeyedItems(interpreter, input, values[1], values[0].Truth()));
  if (keyed.empty()) return Value::MakeUndefined("No aggregated item, sequence was empty.");
  const Keyed* best = &keyed[0];
  for (const auto& item : keyed) {
    NIBBLE_TRY(const bool better,
               largest ? Less(interpreter.budget(), best->key, item.key) : Less(interpreter.budget(), item.key, best->key));
    if (better) best = &item;
  }
  return best->value;
}

template <bool last>
Result<Value> End(Interpreter& interpreter, const Value& input, const Arguments&) {
  NIBBLE_TRY(const auto items, Iterate(interpreter.budget(), input));
  if (items->items.empty()) return Value::MakeUndefined(fmt::format("No {} item, sequence was empty.", last ? "last" : "first"));
  return last ? items->items.back() : items->items.front();
}

Result<Value> Sum(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  NIBBLE_TRY(const auto values, Bind("sum", arguments, {{"attribute", None{}}, {"start", Value(0)}}));
  NIBBLE_TRY(const auto items, Iterate(interpreter.budget(), input));
  Value total = values[1];
  for (const Value& item : items->items) {
    NIBBLE_TRY(const Value value, Path(interpreter, item, values[0]));
    NIBBLE_TRY(total, Arithmetic(interpreter.budget(), "+", total, value));
  }
  return total;
}

Result<Value> Reverse(Interpreter& interpreter, const Value& input, const Arguments&) {
  NIBBLE_TRY(const auto list, Iterate(interpreter.budget(), input));
  NIBBLE_RETURN_IF_ERROR(interpreter.budget().Allocate(list->items.size() * sizeof(Value)));
  std::vector<Value> items(list->items.rbegin(), list->items.rend());
  if (!input.IsString()) return MakeList(interpreter.budget(), std::move(items), List::Type::kGenerator);
  std::string text;
  for (const Value& item : items) text += item.Str();
  return MakeText(interpreter.budget(), std::move(text));
}

}  // namespace

const FilterTable& SequenceFilters() {
  static const FilterTable table = {{"length", Length},
                                    {"count", Length},
                                    {"list", ToList},
                                    {"items", Items},
                                    {"join", JoinFilter},
                                    {"select", Select<true, false>},
                                    {"reject", Select<false, false>},
                                    {"selectattr", Select<true, true>},
                                    {"rejectattr", Select<false, true>},
                                    {"map", Map},
                                    {"sort", Sort},
                                    {"dictsort", DictSort},
                                    {"unique", Unique},
                                    {"min", Extreme<false>},
                                    {"max", Extreme<true>},
                                    {"first", End<false>},
                                    {"last", End<true>},
                                    {"sum", Sum},
                                    {"reverse", Reverse}};
  return table;
}

}  // namespace nibble::jinja
