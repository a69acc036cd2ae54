// SPDX-License-Identifier: Apache-2.0
#include "kernels/pack_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/log.h"
#include "formats/plane.h"

namespace nibble {
namespace {

constexpr char kMagic[8] = {'n', 'b', 'p', 'a', 'c', 'k', '0', '2'};
constexpr int64_t kHeaderBytes = 4096;  // data begins on a page

struct Header {
  char magic[8];
  uint64_t key, bytes, checksum;
};

constexpr uint64_t Mix(uint64_t h, uint64_t word) {  // FNV-1a's step with words for bytes
  h = (h ^ word) * 0x100000001b3ull;
  return h ^ h >> 29;
}

// Four chains side by side: one would wait for its multiplications, not for memory.
uint64_t Hash(const void* data, size_t size, uint64_t seed) {
  const auto* p = static_cast<const unsigned char*>(data);
  uint64_t lanes[4], words[4] = {};
  for (uint64_t i = 0; i < 4; ++i) lanes[i] = Mix(seed ^ 0xcbf29ce484222325ull, i);
  for (; size >= sizeof words; p += sizeof words, size -= sizeof words) {
    std::memcpy(words, p, sizeof words);
    for (int i = 0; i < 4; ++i) lanes[i] = Mix(lanes[i], words[i]);
  }
  uint64_t h = size;
  for (const uint64_t lane : lanes) h = Mix(h, lane);
  for (; size > 0; ++p, --size) h = Mix(h, *p);
  return h;
}

// Of pieces that the team reads together.
uint64_t Checksum(const std::byte* data, int64_t bytes, uint64_t key, ThreadTeam& team) {
  constexpr int64_t kPiece = 1 << 20;
  std::vector<uint64_t> pieces(static_cast<size_t>(CeilDiv(bytes, kPiece)));
  team.Run([&](int worker) {
    const Range mine = SplitRange(static_cast<int64_t>(pieces.size()), worker, team.size());
    for (int64_t i = mine.begin; i < mine.end; ++i)
      pieces[static_cast<size_t>(i)] = Hash(data + i * kPiece, static_cast<size_t>(std::min(kPiece, bytes - i * kPiece)), key);
  });
  return Hash(pieces.data(), pieces.size() * sizeof(uint64_t), key);
}

// Samples of what a weight holds. Names alone do not tell apart the experts of a stack, gate and up of one tensor, or rows that
// were picked from a fused one.
uint64_t HashContent(const StoredWeight& w, uint64_t seed) {
  constexpr int64_t kRows = 8, kColumns = 64;
  float values[kColumns];
  const int64_t columns = std::min(w.k, kColumns);
  for (int64_t i = 0; i < kRows; ++i) {
    const int64_t n = (w.n - 1) * i / (kRows - 1), k = (w.k - columns) * i / (kRows - 1);
    DecodeRows(w, {n, n + 1}, {k, k + columns}, values);
    seed = Hash(values, static_cast<size_t>(columns) * sizeof(float), seed);
  }
  if (!w.row_map) return seed;
  std::vector<int64_t> rows;
  for (int64_t n = 0; n < w.n; ++n) rows.push_back(BodyRow(w, n));
  return Hash(rows.data(), rows.size() * sizeof(int64_t), seed);
}

uint64_t Key(const Segment& segment, int64_t bytes) {
  const StoredWeight& w = *segment.weight;
  struct stat st = {};
  const bool known = stat(w.origin.file.c_str(), &st) == 0;
  const std::string text = fmt::format("{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", w.origin.file, known ? st.st_size : 0,
                                       known ? st.st_mtim.tv_sec : 0, known ? st.st_mtim.tv_nsec : 0, w.origin.tensor,
                                       w.origin.slice, Describe(w), w.n, w.k, segment.layout->name, segment.layout->version, bytes);
  return HashContent(w, Hash(text.data(), text.size(), 1));
}

// The mapped file if it is exactly what `key` and `bytes` say; empty otherwise.
CachedBytes Map(const std::string& path, uint64_t key, int64_t bytes, ThreadTeam& team) {
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
      header->checksum != Checksum(data, bytes, key, team))
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

Result<CachedBytes> LoadOrPack(const std::string& dir, const Segment& segment, int64_t bytes, ThreadTeam& team,
                               const std::function<Status(std::byte*)>& pack) {
  const uint64_t key = Key(segment, bytes);
  const std::string path = fmt::format("{}/{:016x}.nbpack", dir, key);
  if (CachedBytes cached = Map(path, key, bytes, team); cached.data) return cached;
  auto buffer = std::make_shared<Buffer>(bytes);
  NIBBLE_RETURN_IF_ERROR(pack(buffer->data()));
  Header header = {};
  std::memcpy(header.magic, kMagic, 8);
  header.key = key;
  header.bytes = static_cast<uint64_t>(bytes);
  header.checksum = Checksum(buffer->data(), bytes, key, team);
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (WriteFile(path, header, buffer->data()))
    if (CachedBytes cached = Map(path, key, bytes, team); cached.data) return cached;
  Warn("pack cache {}: cannot write {}: {}; the packed weights stay in memory", dir, path, std::strerror(errno));
  return CachedBytes{buffer->data(), buffer};
}

}  // namespace nibble
