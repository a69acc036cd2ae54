// SPDX-License-Identifier: Apache-2.0
// Bounds-returning cursor over untrusted bytes. A read past the end returns nullopt and leaves the cursor where it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace nibble {

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }

  // Little-endian scalar, any alignment.
  template <typename T>
  std::optional<T> Read() {
    static_assert(std::is_trivially_copyable_v<T>);
    if (left() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }
  std::optional<std::span<const std::byte>> ReadBytes(uint64_t size) {
    if (size > left()) return std::nullopt;
    const auto view = bytes_.subspan(position_, size);
    position_ += size;
    return view;
  }
  std::optional<std::string_view> ReadString(uint64_t size) {
    const auto view = ReadBytes(size);
    if (!view) return std::nullopt;
    return std::string_view(reinterpret_cast<const char*>(view->data()), view->size());
  }

 private:
  std::span<const std::byte> bytes_;
  size_t position_ = 0;
};

}  // namespace nibble
