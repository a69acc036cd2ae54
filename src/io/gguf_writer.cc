// SPDX-License-Identifier: Apache-2.0
#include "io/gguf_writer.h"

#include <bit>
#include <unordered_map>

#include "base/math.h"
#include "io/atomic_file.h"
#include "io/utf8.h"

namespace nibble {

void GgufMetadataWriter::AppendString(std::string_view text) {
  Append(static_cast<uint64_t>(text.size()));
  bytes_.append(text);
}
void GgufMetadataWriter::Key(std::string_view key, GgufType type) {
  AppendString(key);
  Append(static_cast<uint32_t>(type));
  ++count_;
}
void GgufMetadataWriter::Number(std::string_view key, GgufType type, const void* value) {
  Key(key, type);
  bytes_.append(static_cast<const char*>(value), static_cast<size_t>(GgufTypeBytes(type)));
}
void GgufMetadataWriter::ArrayHead(std::string_view key, GgufType type, uint64_t count) {
  Key(key, GgufType::kArray);
  Append(static_cast<uint32_t>(type));
  Append(count);
}
void GgufMetadataWriter::Bool(std::string_view key, bool value) {
  const uint8_t byte = value;
  Number(key, GgufType::kBool, &byte);
}
void GgufMetadataWriter::String(std::string_view key, std::string_view value) {
  Key(key, GgufType::kString);
  AppendString(value);
}
void GgufMetadataWriter::Strings(std::string_view key, std::span<const std::string> values) {
  ArrayHead(key, GgufType::kString, values.size());
  for (const std::string& value : values) AppendString(value);
}
void GgufMetadataWriter::I32s(std::string_view key, std::span<const int32_t> values) {
  ArrayHead(key, GgufType::kI32, values.size());
  bytes_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}
void GgufMetadataWriter::F32s(std::string_view key, std::span<const float> values) {
  ArrayHead(key, GgufType::kF32, values.size());
  bytes_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

void GgufMetadataWriter::Copy(std::string_view key, const GgufValue& value) {
  if (const auto* array = std::get_if<GgufArray>(&value.value)) {
    ArrayHead(key, array->type, static_cast<uint64_t>(array->count));
    bytes_.append(reinterpret_cast<const char*>(array->bytes.data()), array->bytes.size());
    for (const std::string_view text : array->strings) AppendString(text);
    return;
  }
  if (const auto* text = std::get_if<std::string_view>(&value.value)) return String(key, *text);
  if (const auto* flag = std::get_if<bool>(&value.value)) return Bool(key, *flag);
  if (const auto* number = std::get_if<double>(&value.value)) {
    if (value.type == GgufType::kF32) return F32(key, static_cast<float>(*number));
    return Number(key, value.type, number);
  }
  // Integers: the low bytes of the wide value are the narrow one (little-endian, two's complement).
  if (const auto* number = std::get_if<int64_t>(&value.value)) return Number(key, value.type, number);
  Number(key, value.type, &std::get<uint64_t>(value.value));
}

struct GgufWriter::State {
  struct Tensor {
    std::string name;
    int64_t offset = 0, size_bytes = 0, written = 0;  // offset in the file
  };
  std::vector<Tensor> tensors;
  std::unordered_map<std::string_view, size_t> by_name;  // keys point into tensors, which is complete before this is filled
  std::optional<AtomicFile> file;
};

GgufWriter::GgufWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
GgufWriter::GgufWriter(GgufWriter&&) noexcept = default;
GgufWriter& GgufWriter::operator=(GgufWriter&&) noexcept = default;
GgufWriter::~GgufWriter() = default;

namespace {

Result<int64_t> GgufBytesOf(const GgufDeclaration& tensor) {
  const GgufTensorType* type = FindGgufTensorType(tensor.type);
  if (!type) return Usage("tensor \"{}\": {} is no ggml type", tensor.name, tensor.type);
  if (tensor.name.empty() || tensor.name.size() > 63 || !IsPrintableUtf8(tensor.name))
    return Usage("tensor \"{}\": a name in GGUF has 1 to 63 bytes of printable UTF-8", tensor.name);
  const int rank = tensor.shape.rank();
  if (rank < 1 || rank > 4) return Usage("tensor \"{}\": {} dimensions, GGUF has 1 to 4", tensor.name, rank);
  const int64_t columns = tensor.shape[rank - 1];
  if (columns < 0 || columns % type->block_elems != 0)
    return Usage("tensor \"{}\": rows of {} elements, {} needs a multiple of {}", tensor.name, columns, type->name,
                 type->block_elems);
  auto bytes = CheckedMul(columns / type->block_elems, type->block_bytes);
  if (bytes && columns > 0) *bytes += type->row_meta_bytes;
  for (int i = 0; i + 1 < rank && bytes; ++i) bytes = tensor.shape[i] < 0 ? std::nullopt : CheckedMul(*bytes, tensor.shape[i]);
  if (!bytes) return Usage("tensor \"{}\": shape {} is not possible", tensor.name, tensor.shape.ToString());
  return *bytes;
}

}  // namespace

Result<GgufWriter> GgufWriter::Create(const std::string& path, const GgufMetadataWriter& metadata,
                                      const std::vector<GgufDeclaration>& tensors, uint32_t alignment) {
  if (!std::has_single_bit(alignment)) return Usage("{}: alignment {} is not a power of two", path, alignment);
  GgufMetadataWriter head = metadata;
  if (alignment != 32) head.U32("general.alignment", alignment);
  const std::string keys = std::move(head.bytes_);
  head.bytes_ = "GGUF";
  head.Append(uint32_t{3});
  head.Append(static_cast<uint64_t>(tensors.size()));
  head.Append(head.count_);
  head.bytes_ += keys;

  auto state = std::make_unique<State>();
  int64_t offset = 0;  // from the start of the data
  for (const GgufDeclaration& tensor : tensors) {
    NIBBLE_TRY_IN(path, const int64_t bytes, GgufBytesOf(tensor));
    head.AppendString(tensor.name);
    head.Append(static_cast<uint32_t>(tensor.shape.rank()));
    for (int i = tensor.shape.rank() - 1; i >= 0; --i) head.Append(tensor.shape[i]);
    head.Append(static_cast<uint32_t>(tensor.type));
    head.Append(offset);
    state->tensors.push_back({tensor.name, offset, bytes, 0});
    const auto end = CheckedAdd(offset, bytes);
    const auto padded = end ? CheckedAdd(*end, int64_t{alignment} - 1) : std::nullopt;
    if (!padded) return Usage("{}: the tensors have more than 2^63 bytes", path);
    offset = *padded / alignment * alignment;
  }
  for (size_t i = 0; i < state->tensors.size(); ++i)
    if (!state->by_name.emplace(state->tensors[i].name, i).second)
      return Usage("{}: tensor \"{}\" is declared twice", path, state->tensors[i].name);

  NIBBLE_TRY(state->file, AtomicFile::Create(path));
  NIBBLE_RETURN_IF_ERROR(state->file->Write(head.bytes_));
  if (!tensors.empty()) {
    const int64_t data_begin = RoundUp(state->file->position(), alignment);
    for (State::Tensor& tensor : state->tensors) tensor.offset += data_begin;
    NIBBLE_RETURN_IF_ERROR(state->file->Reserve(data_begin + offset));  // also makes all padding zero
  }
  return GgufWriter(std::move(state));
}

Status GgufWriter::Write(std::string_view name, std::span<const std::byte> bytes) {
  const auto found = state_->by_name.find(name);
  if (found == state_->by_name.end()) return Usage("{}: tensor \"{}\" was not declared", state_->file->path(), name);
  State::Tensor& tensor = state_->tensors[found->second];
  const auto size = static_cast<int64_t>(bytes.size());
  if (size > tensor.size_bytes - tensor.written)
    return Usage("{}: tensor \"{}\" has {} bytes, {} were given", state_->file->path(), name, tensor.size_bytes,
                 tensor.written + size);
  NIBBLE_RETURN_IF_ERROR(state_->file->WriteAt(tensor.offset + tensor.written, bytes));
  tensor.written += size;
  return {};
}

Status GgufWriter::Commit() {
  for (const State::Tensor& tensor : state_->tensors)
    if (tensor.written != tensor.size_bytes)
      return Usage("{}: tensor \"{}\" got {} of its {} bytes", state_->file->path(), tensor.name, tensor.written,
                   tensor.size_bytes);
  return state_->file->Commit();
}

}  // namespace nibble
