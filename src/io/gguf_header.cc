// SPDX-License-Identifier: Apache-2.0
// Parses and checks the head of a GGUF file.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/byte_reader.h"
#include "base/math.h"
#include "io/gguf.h"
#include "io/utf8.h"

namespace nibble {
namespace {

// Limits of the reference reader, and the fewest bytes that one item takes: counts are compared with the bytes left before anything
// is allocated for them.
constexpr uint64_t kMaxString = uint64_t{1} << 30, kMaxArray = uint64_t{1} << 30;
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1, kMinTensorBytes = 8 + 1 + 4 + 4 + 8;
constexpr size_t kMaxTensorName = 63;
constexpr uint32_t kMaxRank = 4;
constexpr int64_t kDefaultAlignment = 32;

class GgufParser {
 public:
  GgufParser(std::span<const std::byte> head, int64_t file_bytes, const std::string& where)
      : reader_(head), file_bytes_(file_bytes), where_(where) {}

  Result<GgufHeader> Run() {
    NIBBLE_RETURN_IF_ERROR(ReadPreamble());
    NIBBLE_RETURN_IF_ERROR(ReadMetadata());
    NIBBLE_RETURN_IF_ERROR(ReadAlignment());
    NIBBLE_RETURN_IF_ERROR(ReadTensors());
    NIBBLE_RETURN_IF_ERROR(CheckNames());
    NIBBLE_RETURN_IF_ERROR(PlaceTensors());
    return std::move(header_);
  }

 private:
  tl::unexpected<Error> CutShort(const std::string& what) const {
    return Corrupt("{}: the file ends inside {} (byte {}); it is cut short: download or copy it again", where_, what,
                   reader_.position());
  }

  Status ReadPreamble() {
    const auto magic = reader_.ReadString(4);
    if (!magic || *magic != "GGUF") {
      const char* hint = !magic             ? "the file is too short"
                         : *magic == "vers" ? "this is a git-lfs pointer, not the file: run `git lfs pull`"
                         : *magic == "tjgg" || *magic == "lmgg" || *magic == "fmgg"
                             ? "this is a model of llama.cpp before GGUF (2023): convert the original again"
                         : (*magic)[0] == '<' ? "this looks like a web page: download it again"
                                              : "this is another kind of file";
      return Corrupt("{}: does not begin with \"GGUF\"; {}", where_, hint);
    }
    const auto version = reader_.Read<uint32_t>();
    if (!version) return CutShort("the header");
    if ((*version & 0xffffu) == 0)
      return Unsupported("{}: big-endian GGUF; make it little-endian with llama.cpp's gguf_convert_endian.py", where_);
    if (*version < 2 || *version > 3) return Unsupported("{}: GGUF version {}, versions 2 and 3 are supported", where_, *version);
    header_.version = *version;
    const auto tensors = reader_.Read<uint64_t>(), keys = reader_.Read<uint64_t>();
    if (!tensors || !keys) return CutShort("the header");
    if (*keys > reader_.left() / kMinKeyBytes || *tensors > reader_.left() / kMinTensorBytes)
      return Corrupt("{}: {} keys and {} tensors cannot fit into {} bytes", where_, *keys, *tensors, reader_.left());
    key_count_ = *keys;
    tensor_count_ = *tensors;
    return {};
  }

  Result<std::string_view> ReadString(const std::string& what) {
    const auto length = reader_.Read<uint64_t>();
    if (!length) return CutShort(what);
    if (*length > kMaxString) return Corrupt("{}: {}: string of {} bytes, the limit is {}", where_, what, *length, kMaxString);
    const auto text = reader_.ReadString(*length);
    if (!text) return Corrupt("{}: {}: string of {} bytes, the file has {} left", where_, what, *length, reader_.left());
    return *text;
  }

  Status ReadMetadata() {
    std::vector<GgufMetadata::Entry> entries;
    entries.reserve(key_count_);
    for (uint64_t i = 0; i < key_count_; ++i) {
      NIBBLE_TRY(const std::string_view key, ReadString(fmt::format("key {}", i)));
      if (!IsPrintableUtf8(key)) return Corrupt("{}: key {} is not printable UTF-8 text", where_, i);
      const std::string what = fmt::format("key \"{}\"", key);
      const auto type = reader_.Read<uint32_t>();
      if (!type) return CutShort(what);
      if (*type > static_cast<uint32_t>(GgufType::kF64))
        return Corrupt("{}: {}: value type {}, known are 0 to 12", where_, what, *type);
      GgufMetadata::Entry& entry = entries.emplace_back();
      entry.key = key;
      entry.value.type = static_cast<GgufType>(*type);
      NIBBLE_RETURN_IF_ERROR(ReadValue(what, entry.value));
    }
    NIBBLE_TRY(header_.metadata, GgufMetadata::Make(std::move(entries), where_));
    return {};
  }

  // Values are written in place: g++ 12 warns, wrongly, about variants that are moved through a Result.
  template <typename Stored, typename Value>
  Status ReadNumber(const std::string& what, GgufValue& out) {
    const auto number = reader_.Read<Stored>();
    if (!number) return CutShort(what);
    out.value.emplace<Value>(static_cast<Value>(*number));
    return {};
  }

  Status ReadValue(const std::string& what, GgufValue& out) {
    switch (out.type) {
      case GgufType::kU8: return ReadNumber<uint8_t, uint64_t>(what, out);
      case GgufType::kU16: return ReadNumber<uint16_t, uint64_t>(what, out);
      case GgufType::kU32: return ReadNumber<uint32_t, uint64_t>(what, out);
      case GgufType::kU64: return ReadNumber<uint64_t, uint64_t>(what, out);
      case GgufType::kI8: return ReadNumber<int8_t, int64_t>(what, out);
      case GgufType::kI16: return ReadNumber<int16_t, int64_t>(what, out);
      case GgufType::kI32: return ReadNumber<int32_t, int64_t>(what, out);
      case GgufType::kI64: return ReadNumber<int64_t, int64_t>(what, out);
      case GgufType::kF32: return ReadNumber<float, double>(what, out);
      case GgufType::kF64: return ReadNumber<double, double>(what, out);
      case GgufType::kBool: return ReadNumber<uint8_t, bool>(what, out);  // everything but 0 is true
      case GgufType::kString: {
        NIBBLE_TRY(const std::string_view text, ReadString(what));
        out.value.emplace<std::string_view>(text);
        return {};
      }
      case GgufType::kArray: return ReadArray(what, out.value.emplace<GgufArray>());
    }
    return {};
  }

  Status ReadArray(const std::string& what, GgufArray& array) {
    const auto type = reader_.Read<uint32_t>();
    const auto count = reader_.Read<uint64_t>();
    if (!type || !count) return CutShort(what);
    if (*type > static_cast<uint32_t>(GgufType::kF64))
      return Corrupt("{}: {}: array of type {}, known are 0 to 12", where_, what, *type);
    array.type = static_cast<GgufType>(*type);
    if (array.type == GgufType::kArray) return Unsupported("{}: {}: arrays of arrays are not supported", where_, what);
    const auto least = static_cast<uint64_t>(array.type == GgufType::kString ? 8 : GgufTypeBytes(array.type));
    if (*count > kMaxArray) return Corrupt("{}: {}: array of {} elements, the limit is {}", where_, what, *count, kMaxArray);
    if (*count > reader_.left() / least)
      return Corrupt("{}: {}: array of {} {}, the file has {} bytes left", where_, what, *count, GgufTypeName(array.type),
                     reader_.left());
    array.count = static_cast<int64_t>(*count);
    if (array.type != GgufType::kString) {
      array.bytes = *reader_.ReadBytes(*count * least);
      return {};
    }
    array.strings.reserve(*count);
    for (uint64_t i = 0; i < *count; ++i) {
      NIBBLE_TRY(const std::string_view text, ReadString(what));
      array.strings.push_back(text);
    }
    return {};
  }

  Status ReadAlignment() {
    header_.alignment = kDefaultAlignment;
    const GgufValue* value = header_.metadata.Find("general.alignment");
    if (!value) return {};
    if (value->type != GgufType::kU32)
      return Corrupt("{}: key \"general.alignment\": found {}, wanted u32", where_, GgufTypeName(value->type));
    const uint64_t alignment = std::get<uint64_t>(value->value);
    if (!std::has_single_bit(alignment))
      return Corrupt("{}: key \"general.alignment\": {} is not a power of two", where_, alignment);
    header_.alignment = static_cast<int64_t>(alignment);
    return {};
  }

  Status ReadTensors() {
    header_.tensors.reserve(tensor_count_);
    offsets_.reserve(tensor_count_);
    for (uint64_t i = 0; i < tensor_count_; ++i) {
      NIBBLE_TRY(const std::string_view name, ReadString(fmt::format("the name of tensor {}", i)));
      if (name.empty() || name.size() > kMaxTensorName || !IsPrintableUtf8(name))
        return Corrupt("{}: the name of tensor {} is not 1 to {} bytes of printable UTF-8 text", where_, i, kMaxTensorName);
      NIBBLE_RETURN_IF_ERROR(ReadTensor(name));
    }
    return {};
  }

  Status ReadTensor(std::string_view name) {
    const std::string what = fmt::format("tensor \"{}\"", name);
    const auto rank = reader_.Read<uint32_t>();
    if (!rank) return CutShort(what);
    if (*rank > kMaxRank) return Corrupt("{}: {}: {} dimensions, at most {} are possible", where_, what, *rank, kMaxRank);
    int64_t dims[kMaxRank] = {};
    for (uint32_t i = 0; i < *rank; ++i) {
      const auto ne = reader_.Read<uint64_t>();
      if (!ne) return CutShort(what);
      if (*ne > static_cast<uint64_t>(INT64_MAX)) return Corrupt("{}: {}: dimension {} is {}, beyond 2^63", where_, what, i, *ne);
      dims[*rank - 1 - i] = static_cast<int64_t>(*ne);
    }
    const auto type = reader_.Read<uint32_t>();
    const auto offset = reader_.Read<uint64_t>();
    if (!type || !offset) return CutShort(what);
    GgufTensorInfo& info = header_.tensors.emplace_back();
    info.name = name;
    info.shape = Shape(std::span<const int64_t>(dims, *rank));
    info.type = FindGgufTensorType(*type);
    if (!info.type)
      return Unsupported("{}: {}: tensor type {} is not known to this build (a retired type, or newer than it)", where_, what,
                         *type);
    NIBBLE_TRY_IN(where_ + ": " + what, const int64_t size, SizeOf(info));
    info.end = size;  // placed later
    offsets_.push_back(*offset);
    return {};
  }

  // Bytes of a tensor, all products checked, also when another dimension is zero.
  static Result<int64_t> SizeOf(const GgufTensorInfo& info) {
    const int rank = info.shape.rank();
    const int64_t columns = rank > 0 ? info.shape[rank - 1] : 1;
    if (columns % info.type->block_elems != 0)
      return Corrupt("rows of {} elements, {} needs a multiple of {}", columns, info.type->name, info.type->block_elems);
    auto rows = std::optional<int64_t>(1);
    bool empty = columns == 0;
    for (int i = 0; i + 1 < rank; ++i) {
      empty |= info.shape[i] == 0;
      if (rows) rows = CheckedMul(*rows, std::max<int64_t>(info.shape[i], 1));
    }
    const auto blocks = CheckedMul(columns / info.type->block_elems, info.type->block_bytes);
    const auto row_bytes = blocks ? CheckedAdd(*blocks, info.type->row_meta_bytes) : std::nullopt;
    const auto bytes = rows && row_bytes ? CheckedMul(*rows, *row_bytes) : std::nullopt;
    if (!bytes || !CheckedMul(rows.value_or(1), columns))
      return Corrupt("shape {} {} has more than 2^63 bytes", info.shape.ToString(), info.type->name);
    return empty ? 0 : *bytes;
  }

  Status CheckNames() const {
    std::vector<std::string_view> names;
    names.reserve(header_.tensors.size());
    for (const GgufTensorInfo& info : header_.tensors) names.push_back(info.name);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) return Corrupt("{}: tensor \"{}\" occurs twice", where_, *twice);
    return {};
  }

  // Every tensor begins where the padded sizes before it put it; the last may lack its padding, nothing may follow.
  Status PlaceTensors() {
    const auto round_up = [&](int64_t value) -> std::optional<int64_t> {
      const auto sum = CheckedAdd(value, header_.alignment - 1);
      return sum ? std::optional(*sum / header_.alignment * header_.alignment) : std::nullopt;
    };
    const auto head_end = static_cast<int64_t>(reader_.position());
    const auto data_begin = round_up(head_end);
    header_.data_begin = header_.tensors.empty() ? head_end : data_begin.value_or(INT64_MAX);
    int64_t position = header_.data_begin;
    for (size_t i = 0; i < header_.tensors.size(); ++i) {
      GgufTensorInfo& info = header_.tensors[i];
      const auto begin = round_up(position - header_.data_begin);
      if (!begin || offsets_[i] != static_cast<uint64_t>(*begin))
        return Corrupt("{}: tensor \"{}\": offset {}, the tensors before it end at {} (alignment {})", where_, info.name,
                       offsets_[i], position - header_.data_begin, header_.alignment);
      const auto first = CheckedAdd(header_.data_begin, *begin);
      const auto last = first ? CheckedAdd(*first, info.end) : std::nullopt;
      if (!last || *last > file_bytes_)
        return Corrupt(
            "{}: tensor \"{}\": {} bytes at offset {} go beyond the end of the file ({} bytes); it is cut short: download or copy "
            "it again",
            where_, info.name, info.end, *begin, file_bytes_);
      info.begin = *first;
      info.end = *last;
      position = *last;
    }
    const auto end = round_up(position);
    if (end && file_bytes_ > *end)
      return Corrupt("{}: {} bytes after the last tensor (from byte {}) belong to no tensor", where_, file_bytes_ - position,
                     position);
    return {};
  }

  ByteReader reader_;
  int64_t file_bytes_;
  const std::string& where_;
  uint64_t key_count_ = 0, tensor_count_ = 0;
  std::vector<uint64_t> offsets_;
  GgufHeader header_;
};

}  // namespace

Result<GgufHeader> ParseGgufHeader(std::span<const std::byte> head, int64_t file_bytes, const std::string& where) {
  return GgufParser(head, file_bytes, where).Run();
}

}  // namespace nibble
