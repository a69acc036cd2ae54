// SPDX-License-Identifier: Apache-2.0
// Writing a file so that it is either there, whole and on disk, or not there: readers that map the old one keep it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace nibble {

// A new file under a temporary name in the same folder. Not thread-safe. Without Commit nothing is left behind.
class AtomicFile {
 public:
  // Errors name the path: the folder does not exist or may not be written.
  static Result<AtomicFile> Create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();

  const std::string& path() const { return path_; }
  int64_t position() const { return position_; }

  // Takes the disk space of the whole file now, so that a full disk shows before hours of work and not after. The file is then
  // `bytes` long, zeros where nothing is written. File systems that cannot reserve are not an error.
  Status Reserve(int64_t bytes);
  // Appends at position().
  Status Write(std::span<const std::byte> bytes);
  Status Write(std::string_view text) { return Write(std::as_bytes(std::span(text.data(), text.size()))); }
  // Writes somewhere else; position() stays.
  Status WriteAt(int64_t offset, std::span<const std::byte> bytes);
  // Zero bytes up to a multiple of `alignment`.
  Status PadTo(int64_t alignment);

  // fsync, rename over path(), fsync of the folder. After an error, or without Commit, path() is as it was before.
  Status Commit();

 private:
  AtomicFile() = default;
  void Abandon();
  tl::unexpected<Error> WriteError(int errno_value, int64_t bytes) const;

  std::string path_, temporary_;
  int fd_ = -1;
  int64_t position_ = 0;
};

// Create, Write, Commit.
Status WriteFileAtomically(const std::string& path, std::string_view text);

}  // namespace nibble
