// SPDX-License-Identifier: Apache-2.0
// Packed layouts kept in files, so that a second start maps them instead of packing, and so that they can be evicted from memory.
// One file a segment, named by a hash of what it was made from: source file (path, size, time), tensor, shard, form, samples of its
// values, order of rows, layout and version.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "kernels/linear.h"

namespace nibble {

struct CachedBytes {
  const std::byte* data = nullptr;
  std::shared_ptr<const void> keep;
};

// Maps the cached bytes of `segment`, or calls pack, writes them (temporary name, fsync, rename) and maps that. A file that does
// not fit (wrong size, header or checksum) is replaced. When the folder cannot be written the packed bytes stay in memory, with a
// warning. The team reads what is validated.
Result<CachedBytes> LoadOrPack(const std::string& dir, const Segment& segment, int64_t bytes, ThreadTeam& team,
                               const std::function<Status(std::byte*)>& pack);

}  // namespace nibble
