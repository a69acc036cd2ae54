// SPDX-License-Identifier: Apache-2.0
#include "io/zip.h"

#include <algorithm>
#include <cstdint>

#include "base/byte_reader.h"

namespace nibble {
namespace {

using Bytes = std::span<const std::byte>;

constexpr uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kEnd64Locator = 0x07064b50;
constexpr size_t kEndBytes = 22, kLocatorBytes = 20, kMaxComment = 0xffff;
constexpr uint16_t kZip64Field = 1;
constexpr uint32_t kIn64 = 0xffffffff;  // the value stands in the ZIP64 record

struct Directory {
  uint64_t count = 0, size = 0, offset = 0;
};

// A reader at `offset`, if that is inside.
std::optional<ByteReader> ReaderAt(Bytes bytes, uint64_t offset) {
  if (offset > bytes.size()) return std::nullopt;
  return ByteReader(bytes.subspan(offset));
}

// The end record is the last thing in the file but for a comment.
std::optional<size_t> FindEnd(Bytes bytes) {
  if (bytes.size() < kEndBytes) return std::nullopt;
  const size_t last = bytes.size() - kEndBytes, first = last > kMaxComment ? last - kMaxComment : 0;
  for (size_t at = last + 1; at-- > first;)
    if (ByteReader(bytes.subspan(at)).Read<uint32_t>() == kEnd) return at;
  return std::nullopt;
}

std::optional<Directory> ReadEnd64(Bytes bytes, size_t end) {
  if (end < kLocatorBytes) return std::nullopt;
  auto locator = ReaderAt(bytes, end - kLocatorBytes);
  if (locator->Read<uint32_t>() != kEnd64Locator || !locator->Read<uint32_t>()) return std::nullopt;
  const auto where = locator->Read<uint64_t>();
  auto record = where ? ReaderAt(bytes, *where) : std::nullopt;
  // Signature, size of the record, versions and volumes: 4 + 8 + 4 + 8 + 8 bytes before the total count.
  if (!record || record->Read<uint32_t>() != kEnd64 || !record->ReadBytes(28)) return std::nullopt;
  const auto count = record->Read<uint64_t>(), size = record->Read<uint64_t>(), offset = record->Read<uint64_t>();
  if (!offset) return std::nullopt;
  return Directory{*count, *size, *offset};
}

std::optional<Directory> ReadEnd(Bytes bytes) {
  const auto end = FindEnd(bytes);
  if (!end) return std::nullopt;
  ByteReader record(bytes.subspan(*end + 4));
  if (!record.ReadBytes(6)) return std::nullopt;  // volumes, entries of this volume
  const auto count = record.Read<uint16_t>();
  const auto size = record.Read<uint32_t>(), offset = record.Read<uint32_t>();
  if (!offset) return std::nullopt;
  if (*count == 0xffff || *size == kIn64 || *offset == kIn64) return ReadEnd64(bytes, *end);
  return Directory{*count, *size, *offset};
}

struct Member {
  std::string name;
  uint16_t flags = 0, method = 0;
  uint64_t packed = 0, size = 0, offset = 0;
};

// The 64-bit values of a member, in this order, where the 32-bit ones say so.
bool ReadExtra(Bytes extra, Member& member) {
  ByteReader reader(extra);
  while (reader.left() >= 4) {
    const auto id = reader.Read<uint16_t>();
    const auto size = reader.Read<uint16_t>();
    const auto field = reader.ReadBytes(*size);
    if (!field) return false;
    if (*id != kZip64Field) continue;
    ByteReader values(*field);
    for (uint64_t* value : {&member.size, &member.packed, &member.offset}) {
      if (*value != kIn64) continue;
      const auto wide = values.Read<uint64_t>();
      if (!wide) return false;
      *value = *wide;
    }
  }
  return true;
}

std::optional<Member> ReadMember(ByteReader& reader) {
  if (reader.Read<uint32_t>() != kCentralHeader || !reader.ReadBytes(4)) return std::nullopt;
  Member member;
  const auto flags = reader.Read<uint16_t>(), method = reader.Read<uint16_t>();
  if (!method || !reader.ReadBytes(8)) return std::nullopt;  // time, checksum
  const auto packed = reader.Read<uint32_t>(), size = reader.Read<uint32_t>();
  const auto name_size = reader.Read<uint16_t>(), extra_size = reader.Read<uint16_t>(), comment_size = reader.Read<uint16_t>();
  if (!comment_size || !reader.ReadBytes(8)) return std::nullopt;  // volume, attributes
  const auto offset = reader.Read<uint32_t>();
  if (!offset) return std::nullopt;
  const auto name = reader.ReadString(*name_size);
  const auto extra = reader.ReadBytes(*extra_size);
  if (!name || !extra || !reader.ReadBytes(*comment_size)) return std::nullopt;
  member = {std::string(*name), *flags, *method, *packed, *size, *offset};
  if (!ReadExtra(*extra, member)) return std::nullopt;
  return member;
}

// The data behind the local header, whose name and extra field may have other lengths than the directory's.
std::optional<Bytes> DataOf(Bytes bytes, const Member& member) {
  auto header = ReaderAt(bytes, member.offset);
  if (!header || header->Read<uint32_t>() != kLocalHeader || !header->ReadBytes(22)) return std::nullopt;
  const auto name = header->Read<uint16_t>(), extra = header->Read<uint16_t>();
  if (!extra || !header->ReadBytes(uint64_t{*name} + *extra)) return std::nullopt;
  return header->ReadBytes(member.size);
}

}  // namespace

Result<std::map<std::string, Bytes>> ReadZipDirectory(Bytes bytes, const std::string& where) {
  const auto directory = ReadEnd(bytes);
  if (!directory) return Corrupt("{}: no ZIP directory at the end of the file; was the download cut off?", where);
  auto reader = ReaderAt(bytes, directory->offset);
  if (!reader) return Corrupt("{}: the ZIP directory begins at byte {} of {}", where, directory->offset, bytes.size());
  std::map<std::string, Bytes> members;
  for (uint64_t i = 0; i < directory->count; ++i) {
    const auto member = ReadMember(*reader);
    if (!member) return Corrupt("{}: entry {} of the ZIP directory is damaged", where, i);
    if (member->method != 0 || (member->flags & 1) != 0 || member->packed != member->size)
      return Unsupported("{}: member \"{}\" is compressed or encrypted; PyTorch stores members as they are", where, member->name);
    const auto data = DataOf(bytes, *member);
    if (!data) return Corrupt("{}: member \"{}\" does not lie inside the file", where, member->name);
    if (!members.emplace(member->name, *data).second) return Corrupt("{}: member \"{}\" is there twice", where, member->name);
  }
  return members;
}

}  // namespace nibble
