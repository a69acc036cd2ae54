// SPDX-License-Identifier: Apache-2.0
// The safetensors header, read with a SAX handler: linear time and one pass, however large or hostile the JSON is.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/byte_reader.h"
#include "base/math.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace nibble {
namespace {

struct RawEntry {
  std::string name, dtype;
  std::vector<int64_t> shape;
  std::vector<int64_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

// Events of  { name: { "dtype": str, "shape": [int...], "data_offsets": [int, int] }, "__metadata__": { str: str } }.
class HeaderHandler : public nlohmann::json_sax<Json> {
 public:
  std::vector<RawEntry> entries;
  std::map<std::string, std::string> metadata;
  std::string problem;  // set when a callback returned false

  bool null() override { return Value("null"); }
  bool boolean(bool) override { return Value("a boolean"); }
  bool number_float(number_float_t, const string_t&) override { return Value("a number with a fraction or beyond 2^64"); }
  bool number_integer(number_integer_t) override { return Value("a negative number"); }
  bool binary(binary_t&) override { return Value("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (skip_depth_) return true;
    if (!list_) return Value("a number");
    if (value > static_cast<uint64_t>(INT64_MAX)) return Bad("{} is beyond 2^63", value);
    if (list_->size() >= 64) return Bad("list of more than 64 numbers");
    list_->push_back(static_cast<int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (skip_depth_) return true;
    if (in_metadata_) {
      metadata[key_] = std::move(value);
      return true;
    }
    if (depth_ == 2 && key_ == "dtype" && !list_) {
      entries.back().has_dtype = true;
      entries.back().dtype = std::move(value);
      return true;
    }
    return Value("a string");
  }

  bool start_object(size_t) override {
    if (skip_depth_) return Enter();
    if (list_) return Value("an object");
    if (depth_ == 2) return in_metadata_ ? Value("an object") : SkipOrBad("an object");
    ++depth_;
    return true;
  }
  bool end_object() override {
    if (skip_depth_) return Leave();
    if (--depth_ == 1) in_metadata_ = false;
    return true;
  }
  bool start_array(size_t) override {
    if (skip_depth_) return Enter();
    if (depth_ == 0) return Bad("found a list, wanted an object");
    if (depth_ == 2 && !in_metadata_ && !list_) {
      if (key_ == "shape") {
        list_ = &entries.back().shape;
        return First(entries.back().has_shape);
      }
      if (key_ == "data_offsets") {
        list_ = &entries.back().offsets;
        return First(entries.back().has_offsets);
      }
    }
    return depth_ == 2 && !in_metadata_ && !list_ ? SkipOrBad("a list") : Value("a list");
  }
  bool end_array() override {
    if (skip_depth_) return Leave();
    list_ = nullptr;
    return true;
  }
  bool key(string_t& value) override {
    if (skip_depth_) return true;
    key_ = std::move(value);
    if (depth_ != 1) return true;
    in_metadata_ = key_ == "__metadata__";
    if (!in_metadata_) entries.emplace_back().name = key_;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    problem = fmt::format("header byte {}: {}", position, e.what());
    return false;
  }

 private:
  template <typename... Args>
  bool Bad(fmt::format_string<Args...> format, Args&&... args) {
    problem =
        fmt::format("\"{}\": {}", depth_ == 2 && !in_metadata_ && !entries.empty() ? entries.back().name + "\": \"" + key_ : key_,
                    fmt::format(format, std::forward<Args>(args)...));
    return false;
  }
  // A value where the grammar above has none. Unknown keys of a tensor are skipped, as the reference does.
  bool Value(const char* found) {
    if (skip_depth_) return true;
    if (in_metadata_) return Bad("found {}, wanted a string", found);
    if (depth_ < 2) return Bad("found {}, wanted an object", found);
    if (list_) return Bad("found {}, wanted integers from 0", found);
    return key_ == "dtype" || key_ == "shape" || key_ == "data_offsets" ? Bad("found {}", found) : true;
  }
  bool SkipOrBad(const char* found) {
    if (key_ == "dtype" || key_ == "shape" || key_ == "data_offsets") return Value(found);
    return Enter();
  }
  bool First(bool& seen) {
    if (seen) return Bad("given twice");
    seen = true;
    return true;
  }
  bool Enter() { return ++skip_depth_ <= kMaxJsonDepth || Bad("nested deeper than {}", kMaxJsonDepth); }
  bool Leave() {
    --skip_depth_;
    return true;
  }

  int depth_ = 0, skip_depth_ = 0;
  bool in_metadata_ = false;
  std::string key_;
  std::vector<int64_t>* list_ = nullptr;
};

struct StoredType {
  DType dtype;
  int bits;
};
// The container's names. Sub-byte floats are packed, so they are read as bytes.
std::optional<StoredType> FindType(const std::string& name) {
  // AMD's floats: as bytes, so that the file opens; safetensors.cc says why their values cannot be read.
  if (name == "F8_E4M3FNUZ" || name == "F8_E5M2FNUZ") return StoredType{DType::kU8, 8};
  if (name == "F4") return StoredType{DType::kU8, 4};
  if (name == "F6_E2M3" || name == "F6_E3M2") return StoredType{DType::kU8, 6};
  const bool shouted = std::none_of(name.begin(), name.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  const auto dtype = shouted ? ParseDType(name) : std::nullopt;
  if (!dtype) return std::nullopt;
  return StoredType{*dtype, 8 * DTypeBytes(*dtype)};
}

// One raw entry -> checked entry whose range agrees with shape and dtype. Whether ranges tile the data is checked afterwards.
Result<SafetensorsEntry> CheckEntry(RawEntry&& raw, int64_t data_begin, int64_t data_bytes, const std::string& where) {
  const auto tensor = fmt::format("{}: tensor \"{}\"", where, raw.name);
  if (!raw.has_dtype || !raw.has_shape || !raw.has_offsets)
    return Corrupt("{}: {} is missing", tensor, !raw.has_dtype ? "dtype" : !raw.has_shape ? "shape" : "data_offsets");
  if (raw.offsets.size() != 2) return Corrupt("{}: data_offsets has {} numbers, wanted 2", tensor, raw.offsets.size());
  const int64_t begin = raw.offsets[0], end = raw.offsets[1];
  if (begin > end) return Corrupt("{}: data_offsets [{},{}] run backwards", tensor, begin, end);
  if (end > data_bytes)
    return Corrupt("{}: data_offsets end at {}, the file has {} bytes of data; it is cut short: download or copy it again", tensor,
                   end, data_bytes);
  const auto type = FindType(raw.dtype);
  if (!type) return Unsupported("{}: dtype \"{}\" is not known to this build", tensor, raw.dtype);
  if (raw.shape.size() > Shape::kMaxRank)
    return Unsupported("{}: {} dimensions, at most {} are supported", tensor, raw.shape.size(), Shape::kMaxRank);
  int64_t elems = 1;
  bool fits = true, empty = false;
  for (const int64_t dim : raw.shape) {
    empty |= dim == 0;
    const auto product = CheckedMul(elems, dim == 0 ? 1 : dim);  // an overflow is an error beside a zero dimension too
    fits &= product.has_value();
    elems = product.value_or(1);
  }
  const auto bits = CheckedMul(elems, type->bits);
  if (!fits || !bits) return Corrupt("{}: shape [{}] {} has more than 2^63 bits", tensor, fmt::join(raw.shape, ","), raw.dtype);
  const int64_t needed_bits = empty ? 0 : *bits;
  if (needed_bits % 8 != 0) return Corrupt("{}: {} elements of {} bits do not fill whole bytes", tensor, elems, type->bits);
  if (needed_bits / 8 != end - begin)
    return Corrupt("{}: shape [{}] {} needs {} bytes, data_offsets give {}", tensor, fmt::join(raw.shape, ","), raw.dtype,
                   needed_bits / 8, end - begin);
  if (type->bits < 8 && !raw.shape.empty()) {
    int64_t& last = raw.shape.back();
    if (last % 8 != 0 && last * type->bits % 8 != 0)
      return Unsupported("{}: rows of {} {} end inside a byte", tensor, last, raw.dtype);
    last = last / 8 * type->bits + last % 8 * type->bits / 8;
  }
  return SafetensorsEntry{std::move(raw.name), std::move(raw.dtype), type->dtype,
                          Shape(raw.shape),    data_begin + begin,   data_begin + end};
}

Status CheckTiling(const SafetensorsHeader& header, int64_t file_bytes, const std::string& where) {
  int64_t position = header.data_begin;
  const SafetensorsEntry* previous = nullptr;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.begin < position)
      return Corrupt("{}: tensor \"{}\" overlaps \"{}\" (bytes {} to {} of the file)", where, entry.name, previous->name,
                     entry.begin, position);
    if (entry.begin > position)
      return Corrupt("{}: {} bytes before tensor \"{}\" (from byte {}) belong to no tensor", where, entry.begin - position,
                     entry.name, position);
    position = entry.end;
    previous = &entry;
  }
  if (position != file_bytes)
    return Corrupt("{}: {} bytes after the last tensor (from byte {}) belong to no tensor", where, file_bytes - position, position);
  return {};
}

// What else people have under a .safetensors name.
std::string GuessWhatItIs(std::span<const std::byte> head) {
  const std::string_view text(reinterpret_cast<const char*>(head.data()), std::min<size_t>(head.size(), 64));
  if (text.substr(0, 18) == "version https://gi") return "; this is a git-lfs pointer, not the file: run `git lfs pull`";
  if (text.substr(0, 1) == "<") return "; this looks like a web page, not the file: download it again";
  if (text.substr(0, 4) == "GGUF") return "; this is a GGUF file";
  if (text.substr(0, 2) == "PK") return "; this is a zip or pickle (PyTorch) file: convert it to safetensors first";
  return "";
}

}  // namespace

Result<SafetensorsHeader> ParseSafetensorsHeader(std::span<const std::byte> head, int64_t file_bytes, const std::string& where) {
  ByteReader reader(head);
  const auto length = reader.Read<uint64_t>();
  if (!length) return Corrupt("{}: {} bytes, too short for a safetensors header", where, head.size());
  if (*length > static_cast<uint64_t>(kMaxSafetensorsHeaderBytes))
    return Corrupt("{}: header of {} bytes, the limit is {}{}", where, *length, kMaxSafetensorsHeaderBytes, GuessWhatItIs(head));
  const auto text = reader.ReadString(*length);
  if (!text) return Corrupt("{}: header of {} bytes, the file has {} left{}", where, *length, reader.left(), GuessWhatItIs(head));
  if (text->substr(0, 1) != "{") return Corrupt("{}: header byte 8 does not open a JSON object{}", where, GuessWhatItIs(head));

  HeaderHandler handler;
  try {
    if (!Json::sax_parse(text->begin(), text->end(), &handler)) return Corrupt("{}: {}", where, handler.problem);
  } catch (const std::exception& e) {
    return Corrupt("{}: header: {}", where, e.what());
  }
  SafetensorsHeader header;
  header.data_begin = 8 + static_cast<int64_t>(*length);
  header.metadata = std::move(handler.metadata);
  header.entries.reserve(handler.entries.size());
  for (RawEntry& raw : handler.entries) {
    NIBBLE_TRY(auto entry, CheckEntry(std::move(raw), header.data_begin, file_bytes - header.data_begin, where));
    header.entries.push_back(std::move(entry));
  }
  std::stable_sort(header.entries.begin(), header.entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  NIBBLE_RETURN_IF_ERROR(CheckTiling(header, file_bytes, where));
  return header;
}

}  // namespace nibble
