// SPDX-License-Identifier: Apache-2.0
#include "io/json.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "io/mapped_file.h"

namespace nibble {
namespace {

// Deepest nesting of brackets outside of strings. Counted beforehand: the parser's own callback, which could stop it, looks through
// all elements of the parent at the end of every object, which is quadratic.
int Depth(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

template <typename J>
Result<J> Parse(std::string_view text, const std::string& where) {
  if (Depth(text) > kMaxJsonDepth) return Corrupt("{}: JSON nested deeper than {}", where, kMaxJsonDepth);
  try {
    return J::parse(text.begin(), text.end());
  } catch (const std::exception& e) {
    return Corrupt("{}: not valid JSON: {}", where, e.what());
  }
}

// Hears the events of one parse and keeps the keys of the object at `path`. Arrays count as levels that no path enters.
class KeyCollector : public nlohmann::json_sax<Json> {
 public:
  explicit KeyCollector(std::span<const std::string> path) : path_(path) {}
  std::vector<std::string> keys;
  std::string error;

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_array(std::size_t) override { return Enter(false); }
  bool end_array() override { return Leave(); }
  bool start_object(std::size_t) override { return Enter(depth_ == 0 || key_matches_); }
  bool end_object() override { return Leave(); }
  bool key(string_t& name) override {
    const bool on_path = on_path_ == depth_;  // all enclosing objects are the path's
    if (on_path && depth_ == path_.size() + 1 && seen_.insert(name).second) keys.push_back(name);
    key_matches_ = on_path && depth_ <= path_.size() && path_[depth_ - 1] == name;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& e) override {
    error = e.what();
    return false;
  }

 private:
  bool Enter(bool matches) {
    if (matches && on_path_ == depth_) ++on_path_;
    ++depth_;
    key_matches_ = false;
    return true;
  }
  bool Leave() {
    --depth_;
    on_path_ = std::min(on_path_, depth_);
    key_matches_ = false;
    return true;
  }

  std::span<const std::string> path_;
  std::set<std::string> seen_;
  size_t depth_ = 0, on_path_ = 0;  // objects and arrays entered; how many of them, from the outermost, are the path's
  bool key_matches_ = false;
};

template <typename T>
Result<T> Missing(std::string_view key, const char* wanted, const std::optional<T>& fallback) {
  if (fallback) return *fallback;
  return Corrupt("key \"{}\" is missing (wanted {})", key, wanted);
}

tl::unexpected<Error> WrongType(std::string_view key, const Json& found, const char* wanted) {
  std::string shown = found.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (shown.size() > 60) shown = shown.substr(0, 57) + "...";
  return Corrupt("key \"{}\": found {}, wanted {}", key, shown, wanted);
}

}  // namespace

Result<Json> ParseJson(std::string_view text, const std::string& where) { return Parse<Json>(text, where); }
Result<OrderedJson> ParseOrderedJson(std::string_view text, const std::string& where) { return Parse<OrderedJson>(text, where); }

Result<Json> ReadJsonFile(const std::string& path, int64_t max_bytes) {
  NIBBLE_TRY(const std::string text, ReadTextFile(path, max_bytes));
  return ParseJson(text, path);
}

Result<std::vector<std::string>> JsonKeyOrder(std::string_view text, std::span<const std::string> path, const std::string& where) {
  if (Depth(text) > kMaxJsonDepth) return Corrupt("{}: JSON nested deeper than {}", where, kMaxJsonDepth);
  KeyCollector collector(path);
  if (!Json::sax_parse(text.begin(), text.end(), &collector)) return Corrupt("{}: not valid JSON: {}", where, collector.error);
  return std::move(collector.keys);
}

const Json* JsonFind(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(std::string(key));
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Result<int64_t> JsonInt(const Json& object, std::string_view key, std::optional<int64_t> fallback) {
  const Json* value = JsonFind(object, key);
  if (!value) return Missing(key, "an integer", fallback);
  if (value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    return WrongType(key, *value, "an integer below 2^63");
  if (value->is_number_integer()) return value->get<int64_t>();
  if (value->is_number_float()) {  // 4096.0 is written by some tools
    const double number = value->get<double>();
    if (std::nearbyint(number) == number && std::abs(number) < 9e15) return static_cast<int64_t>(number);
  }
  return WrongType(key, *value, "an integer");
}

Result<double> JsonNumber(const Json& object, std::string_view key, std::optional<double> fallback) {
  const Json* value = JsonFind(object, key);
  if (!value) return Missing(key, "a number", fallback);
  if (value->is_number()) return value->get<double>();
  return WrongType(key, *value, "a number");
}

Result<bool> JsonBool(const Json& object, std::string_view key, std::optional<bool> fallback) {
  const Json* value = JsonFind(object, key);
  if (!value) return Missing(key, "true or false", fallback);
  if (value->is_boolean()) return value->get<bool>();
  return WrongType(key, *value, "true or false");
}

Result<std::string> JsonString(const Json& object, std::string_view key, std::optional<std::string> fallback) {
  const Json* value = JsonFind(object, key);
  if (!value) return Missing(key, "a string", fallback);
  if (value->is_string()) return value->get<std::string>();
  return WrongType(key, *value, "a string");
}

}  // namespace nibble
