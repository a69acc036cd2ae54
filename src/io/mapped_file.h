// SPDX-License-Identifier: Apache-2.0
// Reading files: a read-only memory map that views can share, and whole small text files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/math.h"
#include "base/status.h"

namespace nibble {

// A regular, non-empty file mapped read-only. Immutable, so thread-safe. Views into bytes() live as long as some shared_ptr does.
// The map follows the file: whoever truncates it under us gives SIGBUS at the next touch, so writers replace files by rename.
class MappedFile {
 public:
  // Errors: NotFound, Io (a folder, no permission), Corrupt (empty).
  static Result<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, static_cast<size_t>(size_bytes_)}; }
  const std::string& path() const { return path_; }
  // Together they tell whether a cache made from this file is still right.
  int64_t size_bytes() const { return size_bytes_; }
  int64_t mtime_ns() const { return mtime_ns_; }

  // The open file whose map holds `address`, or null. Async-signal-safe: for a SIGBUS handler, which must know whose file shrank.
  // Files beyond the first few thousand open ones are not found.
  static const MappedFile* Containing(const void* address);

  // Says that bytes [begin, end) will not be read again soon: drops the whole pages inside from this process; the
  // system's page cache keeps them as long as memory is not short. Reading them again is allowed. A range beyond the file is cut.
  void ReleasePages(Range bytes) const;
  // The same for a span inside bytes(); others are ignored.
  void ReleasePages(std::span<const std::byte> part) const;
  // Says that the file will be read here and there only (scalars, maps): touching a byte reads its page and nothing around it. For
  // whoever describes a file; reading it through wants the default.
  void ExpectSparseReads() const;

 private:
  MappedFile() = default;
  std::string path_;
  const std::byte* data_ = nullptr;
  int64_t size_bytes_ = 0;
  int64_t mtime_ns_ = 0;
  int fd_ = -1;
};

// The whole file as it is (an empty file is an empty string). Errors as above, and Corrupt above max_bytes.
Result<std::string> ReadTextFile(const std::string& path, int64_t max_bytes = int64_t{64} << 20);

}  // namespace nibble
