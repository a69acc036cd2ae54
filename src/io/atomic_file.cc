// SPDX-License-Identifier: Apache-2.0
#include "io/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace nibble {
namespace {

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Result<AtomicFile> AtomicFile::Create(const std::string& path) {
  static std::atomic<unsigned> serial{0};
  std::error_code ignored;
  if (path.empty() || path.back() == '/' || std::filesystem::is_directory(path, ignored))
    return Usage("\"{}\" is a folder, wanted the name of a file to write", path);
  AtomicFile file;
  file.path_ = path;
  for (int attempt = 0; attempt < 100; ++attempt) {  // names of crashed processes with our id may be in the way
    file.temporary_ = fmt::format("{}.{}-{}.partial", path, getpid(), serial++);
    file.fd_ = open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file.fd_ >= 0) return file;
    if (errno != EEXIST) break;
  }
  return IoError(errno, fmt::format("{}: cannot create a file in {}", path, FolderOf(path)));
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::exchange(other.fd_, -1)),
      position_(other.position_) {}
AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this == &other) return *this;
  Abandon();
  path_ = std::move(other.path_);
  temporary_ = std::move(other.temporary_);
  fd_ = std::exchange(other.fd_, -1);
  position_ = other.position_;
  return *this;
}
AtomicFile::~AtomicFile() { Abandon(); }

void AtomicFile::Abandon() {
  if (fd_ < 0) return;
  close(fd_);
  fd_ = -1;
  unlink(temporary_.c_str());
}

tl::unexpected<Error> AtomicFile::WriteError(int errno_value, int64_t bytes) const {
  if (errno_value == ENOSPC || errno_value == EDQUOT || errno_value == EFBIG)
    return Fail(Code::kResourceExhausted,
                "{}: cannot write {} bytes: {}; free some space, raise the limit or choose another folder", path_, bytes,
                std::strerror(errno_value));
  return IoError(errno_value, fmt::format("{}: cannot write {} bytes", path_, bytes));
}

Status AtomicFile::Reserve(int64_t bytes) {
  if (bytes <= 0) return {};
  // fallocate(2), not posix_fallocate(3): that would write zeros where the file system cannot reserve.
  while (fallocate(fd_, 0, 0, bytes) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return ftruncate(fd_, bytes) == 0 ? Status() : WriteError(errno, bytes);
    return WriteError(errno, bytes);
  }
  return {};
}

Status AtomicFile::WriteAt(int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return WriteError(wrote < 0 ? errno : ENOSPC, static_cast<int64_t>(bytes.size()));
    bytes = bytes.subspan(static_cast<size_t>(wrote));
    offset += wrote;
  }
  return {};
}

Status AtomicFile::Write(std::span<const std::byte> bytes) {
  NIBBLE_RETURN_IF_ERROR(WriteAt(position_, bytes));
  position_ += static_cast<int64_t>(bytes.size());
  return {};
}

Status AtomicFile::PadTo(int64_t alignment) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  for (int64_t left = (alignment - position_ % alignment) % alignment; left > 0;) {
    const auto part = static_cast<size_t>(std::min<int64_t>(left, kZeros.size()));
    NIBBLE_RETURN_IF_ERROR(Write(std::span(kZeros).first(part)));
    left -= static_cast<int64_t>(part);
  }
  return {};
}

Status AtomicFile::Commit() {
  const auto fail = [&](const char* step) -> tl::unexpected<Error> {
    const int error = errno;
    Abandon();
    return IoError(error, fmt::format("{}: {}", path_, step));
  };
  if (fd_ < 0) return Fail(Code::kInternal, "{}: committed twice", path_);
  if (fsync(fd_) != 0) return fail("cannot bring the file to the disk");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return fail("cannot give the finished file its name");
  close(fd_);
  fd_ = -1;
  const int folder = open(FolderOf(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    fsync(folder);  // some file systems refuse; the file itself is safe
    close(folder);
  }
  return {};
}

Status WriteFileAtomically(const std::string& path, std::string_view text) {
  NIBBLE_TRY(AtomicFile file, AtomicFile::Create(path));
  NIBBLE_RETURN_IF_ERROR(file.Write(text));
  return file.Commit();
}

}  // namespace nibble
