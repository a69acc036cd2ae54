// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/sentencepiece_file.h"

#include <bit>
#include <cmath>
#include <functional>
#include <optional>

#include "tokenizers/unicode.h"

namespace nibble {
namespace {

// One field of a protobuf message: a number (varint or fixed) or bytes.
struct Field {
  uint64_t number = 0, value = 0;
  std::string_view bytes;
  int32_t Int() const { return static_cast<int32_t>(static_cast<int64_t>(value)); }
};

class Message {
 public:
  explicit Message(std::string_view bytes) : bytes_(bytes) {}

  // Calls `take` for each field; false when the bytes are no message.
  bool ForEach(const std::function<bool(const Field&)>& take) {
    while (!bytes_.empty()) {
      Field field;
      const auto key = Varint();
      if (!key || *key >> 3 == 0 || !ReadValue(*key & 7, field)) return false;
      field.number = *key >> 3;
      if (!take(field)) return false;
    }
    return true;
  }

 private:
  std::optional<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  bool Fixed(size_t size, uint64_t& value) {
    if (bytes_.size() < size) return false;
    for (size_t i = 0; i < size; ++i) value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes_[i])) << (8 * i);
    bytes_.remove_prefix(size);
    return true;
  }

  bool ReadValue(uint64_t wire, Field& field) {
    if (wire == 5) return Fixed(4, field.value);
    if (wire == 1) return Fixed(8, field.value);
    if (wire != 0 && wire != 2) return false;  // groups ended with proto2
    const auto value = Varint();
    if (!value) return false;
    field.value = *value;
    if (wire == 0) return true;
    if (*value > bytes_.size()) return false;
    field.bytes = bytes_.substr(0, *value);
    bytes_.remove_prefix(*value);
    return true;
  }

  std::string_view bytes_;
};

bool ReadPiece(std::string_view bytes, SentencePieceFile& out) {
  std::string text;
  float score = 0;
  int32_t type = SentencePieceFile::kNormal;
  const bool read = Message(bytes).ForEach([&](const Field& field) {
    if (field.number == 1) text = unicode::Sanitize(field.bytes);
    if (field.number == 2) score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    if (field.number == 3) type = field.Int();
    return true;
  });
  out.pieces.push_back(std::move(text));
  out.scores.push_back(score);
  out.types.push_back(type);
  return read && std::isfinite(score);
}

bool ReadTrainer(std::string_view bytes, SentencePieceFile& out, int32_t& model) {
  return Message(bytes).ForEach([&](const Field& field) {
    switch (field.number) {
      case 3: model = field.Int(); break;
      case 24: out.whitespace_as_suffix = field.value != 0; break;
      case 35: out.byte_fallback = field.value != 0; break;
      case 40: out.unk_id = field.Int(); break;
      case 41: out.bos_id = field.Int(); break;
      case 42: out.eos_id = field.Int(); break;
      default: break;
    }
    return true;
  });
}

bool ReadNormalizer(std::string_view bytes, SentencePieceFile& out) {
  return Message(bytes).ForEach([&](const Field& field) {
    switch (field.number) {
      case 2: out.charsmap = field.bytes; break;
      case 3: out.add_dummy_prefix = field.value != 0; break;
      case 4: out.remove_extra_whitespaces = field.value != 0; break;
      case 5: out.escape_whitespaces = field.value != 0; break;
      default: break;
    }
    return true;
  });
}

}  // namespace

Result<SentencePieceFile> ReadSentencePieceFile(std::string_view bytes, const std::string& where) {
  SentencePieceFile out;
  int32_t model = 1;
  const bool read = Message(bytes).ForEach([&](const Field& field) {
    if (field.number == 1) return ReadPiece(field.bytes, out);
    if (field.number == 2) return ReadTrainer(field.bytes, out, model);
    if (field.number == 3) return ReadNormalizer(field.bytes, out);
    return true;
  });
  if (!read || out.pieces.empty())
    return Corrupt("{}: no SentencePiece model ({} pieces could be read); copy the file again", where, out.pieces.size());
  if (model != 1 && model != 2)
    return Unsupported("{}: SentencePiece model of kind {}; known are 1 (unigram) and 2 (BPE)", where, model);
  out.unigram = model == 1;
  for (int32_t* id : {&out.unk_id, &out.bos_id, &out.eos_id}) {
    if (*id < 0 || *id >= std::ssize(out.pieces)) *id = -1;
  }
  return out;
}

}  // namespace nibble
