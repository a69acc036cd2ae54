// SPDX-License-Identifier: Apache-2.0
#include "kernels/pack_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/log.h"

namespace nibble {
namespace {

constexpr char kMagic[8] = {'n', 'b', 'p', 'a', 'c', 'k', '0', '1'};
constexpr int64_t kHeaderBytes = 4096;  // data begins on a page

struct Header {
  char magic[8];
  uint64_t key, bytes, checksum;
};

uint64_t Hash(const void* data, size_t size, uint64_t seed) {  // FNV-1a over 8-byte words, then bytes
  const auto* p = static_cast<const unsigned char*>(data);
  uint64_t h = seed ^ 0xcbf29ce484222325ull;
  for (; size >= 8; p += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    h = (h ^ word) * 0x100000001b3ull;
    h ^= h >> 29;
  }
  for (; size > 0; ++p, --size) h = (h ^ *p) * 0x100000001b3ull;
  return h;
}

uint64_t Key(const Segment& segment, int64_t bytes) {
  const StoredWeight& w = *segment.weight;
  struct stat st = {};
  const bool known = stat(w.origin.file.c_str(), &st) == 0;
  const std::string text = fmt::format("{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", w.origin.file, known ? st.st_size : 0,
                                       known ? st.st_mtim.tv_sec : 0, known ? st.st_mtim.tv_nsec : 0, w.origin.tensor,
                                       w.origin.slice, w.format->name, segment.layout->name, segment.layout->version, bytes);
  return Hash(text.data(), text.size(), 1);
}

// The mapped file if it is exactly what `key` and `bytes` say; empty otherwise.
CachedBytes Map(const std::string& path, uint64_t key, int64_t bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  struct stat st = {};
  const int64_t wanted = kHeaderBytes + bytes;
  void* base = fstat(fd, &st) == 0 && st.st_size == wanted
                   ? mmap(nullptr, static_cast<size_t>(wanted), PROT_READ, MAP_SHARED, fd, 0)
                   : MAP_FAILED;
  close(fd);
  if (base == MAP_FAILED) return {};
  std::shared_ptr<const void> mapping(base, [wanted](void* p) { munmap(p, static_cast<size_t>(wanted)); });
  const auto* header = static_cast<const Header*>(base);
  const std::byte* data = static_cast<const std::byte*>(base) + kHeaderBytes;
  if (std::memcmp(header->magic, kMagic, 8) != 0 || header->key != key || header->bytes != static_cast<uint64_t>(bytes) ||
      header->checksum != Hash(data, static_cast<size_t>(bytes), key))
    return {};
  return {data, std::move(mapping)};
}

bool WriteAll(int fd, const void* data, int64_t size) {
  const char* p = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = write(fd, p, static_cast<size_t>(size));
    if (n <= 0) return false;
    p += n;
    size -= n;
  }
  return true;
}

bool WriteFile(const std::string& path, const Header& header, const std::byte* data) {
  const std::string temporary = path + fmt::format(".{}.tmp", getpid());
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  std::vector<std::byte> page(kHeaderBytes);
  std::memcpy(page.data(), &header, sizeof header);
  const bool written =
      WriteAll(fd, page.data(), kHeaderBytes) && WriteAll(fd, data, static_cast<int64_t>(header.bytes)) && fsync(fd) == 0;
  close(fd);
  if (written && rename(temporary.c_str(), path.c_str()) == 0) return true;
  unlink(temporary.c_str());
  return false;
}

}  // namespace

Result<CachedBytes> LoadOrPack(const std::string& dir, const Segment& segment, int64_t bytes,
                               const std::function<Status(std::byte*)>& pack) {
  const uint64_t key = Key(segment, bytes);
  const std::string path = fmt::format("{}/{:016x}.nbpack", dir, key);
  if (CachedBytes cached = Map(path, key, bytes); cached.data) return cached;
  auto buffer = std::make_shared<Buffer>(bytes);
  NIBBLE_RETURN_IF_ERROR(pack(buffer->data()));
  Header header = {};
  std::memcpy(header.magic, kMagic, 8);
  header.key = key;
  header.bytes = static_cast<uint64_t>(bytes);
  header.checksum = Hash(buffer->data(), static_cast<size_t>(bytes), key);
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (WriteFile(path, header, buffer->data()))
    if (CachedBytes cached = Map(path, key, bytes); cached.data) return cached;
  Warn("pack cache {}: cannot write {}: {}; the packed weights stay in memory", dir, path, std::strerror(errno));
  return CachedBytes{buffer->data(), buffer};
}

}  // namespace nibble
