// SPDX-License-Identifier: Apache-2.0
#include "io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>

namespace nibble {
namespace {

// Every open map, for Containing(): a signal handler can take no lock.
std::array<std::atomic<const MappedFile*>, 4096> g_open_files;

struct Opened {
  int fd;
  struct stat info;
};

// O_NONBLOCK: opening a pipe must not hang; it is refused right after.
Result<Opened> OpenRegular(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return IoError(errno, path);
  Opened opened{fd, {}};
  if (fstat(fd, &opened.info) != 0) {
    const int error = errno;
    close(fd);
    return IoError(error, path);
  }
  if (!S_ISREG(opened.info.st_mode)) {
    close(fd);
    return Fail(Code::kIo, "{}: is a {}, wanted a file", path, S_ISDIR(opened.info.st_mode) ? "folder" : "device or pipe");
  }
  return opened;
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  NIBBLE_TRY(const Opened opened, OpenRegular(path));
  std::shared_ptr<MappedFile> file(new MappedFile());
  file->path_ = path;
  file->fd_ = opened.fd;
  if (opened.info.st_size == 0) return Corrupt("{}: the file is empty; if it was downloaded, download it again", path);
  void* data = mmap(nullptr, static_cast<size_t>(opened.info.st_size), PROT_READ, MAP_SHARED, opened.fd, 0);
  if (data == MAP_FAILED) return IoError(errno, fmt::format("{}: cannot map {} bytes", path, opened.info.st_size));
  file->data_ = static_cast<const std::byte*>(data);
  file->size_bytes_ = opened.info.st_size;
  file->mtime_ns_ = int64_t{opened.info.st_mtim.tv_sec} * 1'000'000'000 + opened.info.st_mtim.tv_nsec;
  for (auto& slot : g_open_files) {
    const MappedFile* empty = nullptr;
    if (slot.load(std::memory_order_relaxed) == nullptr && slot.compare_exchange_strong(empty, file.get())) break;
  }
  return file;
}

const MappedFile* MappedFile::Containing(const void* address) {
  const auto* at = static_cast<const std::byte*>(address);
  for (const auto& slot : g_open_files) {
    const MappedFile* file = slot.load();
    if (file && at >= file->data_ && at < file->data_ + file->size_bytes_) return file;
  }
  return nullptr;
}

MappedFile::~MappedFile() {
  for (auto& slot : g_open_files)
    if (slot.load(std::memory_order_relaxed) == this) slot.store(nullptr);
  if (data_) munmap(const_cast<std::byte*>(data_), static_cast<size_t>(size_bytes_));
  if (fd_ >= 0) close(fd_);
}

void MappedFile::ExpectSparseReads() const {
  madvise(const_cast<std::byte*>(data_), static_cast<size_t>(size_bytes_), MADV_RANDOM);
}

void MappedFile::ReleasePages(Range bytes) const {
  const int64_t page = sysconf(_SC_PAGESIZE);
  const int64_t begin = RoundUp(std::clamp<int64_t>(bytes.begin, 0, size_bytes_), page);
  // The last page of the file may be released although it is partly beyond the end.
  const int64_t end = bytes.end >= size_bytes_ ? size_bytes_ : std::max<int64_t>(bytes.end, 0) / page * page;
  if (end <= begin) return;
  // Clean shared pages: no data is lost. They stay in the system's cache, which gives them up when memory is short: told to drop
  // them, it would read the file from the disk again at the next start.
  madvise(const_cast<std::byte*>(data_) + begin, static_cast<size_t>(end - begin), MADV_DONTNEED);
}

void MappedFile::ReleasePages(std::span<const std::byte> part) const {
  if (part.empty() || part.data() < data_ || part.data() + part.size() > data_ + size_bytes_) return;
  const int64_t begin = part.data() - data_;
  ReleasePages(Range{begin, begin + static_cast<int64_t>(part.size())});
}

Result<std::string> ReadTextFile(const std::string& path, int64_t max_bytes) {
  NIBBLE_TRY(const Opened opened, OpenRegular(path));
  const auto close_it = std::unique_ptr<const int, void (*)(const int*)>(&opened.fd, [](const int* fd) { close(*fd); });
  const int64_t size = opened.info.st_size;
  if (size > max_bytes) return Corrupt("{}: {} bytes, more than the {} allowed for this file", path, size, max_bytes);
  std::string text(static_cast<size_t>(size), '\0');
  size_t have = 0;
  while (have < text.size()) {
    const ssize_t got = read(opened.fd, text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return IoError(errno, path);
    if (got == 0) break;  // somebody shortened it meanwhile
    have += static_cast<size_t>(got);
  }
  text.resize(have);
  return text;
}

}  // namespace nibble
