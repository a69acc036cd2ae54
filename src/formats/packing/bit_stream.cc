// SPDX-License-Identifier: Apache-2.0
// Reading goes by tiles of lines x positions: the words of a tile are gathered into contiguous lines on the stack when the file
// keeps them strided (word by word over neighbouring lines, which shares cache lines), then each line is unpacked by a loop without
// divisions, and turned where positions are rows.
#include "formats/packing/bit_stream.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace nibble {
namespace {

constexpr int64_t kLines = 16, kPositions = 256;
constexpr int64_t kLineBytes = kPositions * 4 + 16;  // worst case: 8-bit codes one to a word of 4 bytes (never made), and slack

// Eight 4-bit fields to eight bytes, four 2-bit fields to four bytes: shift halves apart, then quarters, then fields.
uint64_t Spread4(uint64_t x) {
  x = (x | x << 16) & 0x0000ffff0000ffff;
  x = (x | x << 8) & 0x00ff00ff00ff00ff;
  return (x | x << 4) & 0x0f0f0f0f0f0f0f0f;
}
uint64_t Spread2(uint64_t x) {
  x = (x | x << 24) & 0x000000ff000000ff;
  x = (x | x << 12) & 0x000f000f000f000f;
  return (x | x << 6) & 0x0303030303030303;
}

// Eight dense codes from 8 * bits bits at `bytes`; only those bytes are read.
template <int kBits>
uint64_t EightCodes(const std::byte* bytes) {
  uint64_t x = 0;
  std::memcpy(&x, bytes, kBits);
  if constexpr (kBits == 8) return x;
  if constexpr (kBits == 4) return Spread4(x);
  if constexpr (kBits == 2) return Spread2(x);
  uint64_t out = 0;
  for (int i = 0; i < 8; ++i) out |= (x >> (kBits * i) & ((1u << kBits) - 1)) << (8 * i);
  return out;
}

// Codes [first, first + count) of a contiguous line.
template <int kBits>
void UnpackDense(const std::byte* line, int64_t first, int64_t count, uint8_t* out) {
  const auto one = [&](int64_t i) {
    const int64_t bit = i * kBits, at = bit / 8;
    unsigned x = static_cast<uint8_t>(line[at]);
    if (bit % 8 + kBits > 8) x |= static_cast<unsigned>(static_cast<uint8_t>(line[at + 1])) << 8;
    return static_cast<uint8_t>(x >> (bit % 8) & ((1u << kBits) - 1));
  };
  int64_t i = first;
  const int64_t end = first + count;
  for (; i < end && i % 8 != 0; ++i) *out++ = one(i);
  for (const std::byte* bytes = line + i / 8 * kBits; i + 8 <= end; i += 8, bytes += kBits, out += 8) {
    const uint64_t codes = EightCodes<kBits>(bytes);
    std::memcpy(out, &codes, 8);
  }
  for (; i < end; ++i) *out++ = one(i);
}

void UnpackDense(int bits, const std::byte* line, int64_t first, int64_t count, uint8_t* out) {
  switch (bits) {
    case 1: return UnpackDense<1>(line, first, count, out);
    case 2: return UnpackDense<2>(line, first, count, out);
    case 3: return UnpackDense<3>(line, first, count, out);
    case 4: return UnpackDense<4>(line, first, count, out);
    case 5: return UnpackDense<5>(line, first, count, out);
    case 6: return UnpackDense<6>(line, first, count, out);
    case 7: return UnpackDense<7>(line, first, count, out);
    default: return UnpackDense<8>(line, first, count, out);
  }
}

void UnpackWords(int bits, const std::byte* line, int64_t first, int64_t count, uint8_t* out) {
  const int per_word = 32 / bits;
  int64_t word = first / per_word;
  int field = static_cast<int>(first % per_word);
  while (count > 0) {
    uint32_t x;
    std::memcpy(&x, line + 4 * word++, 4);
    x >>= bits * field;
    for (; field < per_word && count > 0; ++field, --count, x >>= bits) *out++ = static_cast<uint8_t>(x & ((1u << bits) - 1));
    field = 0;
  }
}

// One stream seen as lines and positions.
struct Stream {
  const TensorView& words;
  int bits;
  int64_t per_word;  // 0: dense

  int64_t word_bits() const { return DTypeBytes(words.dtype) * 8; }
  int64_t FirstWord(int64_t position) const { return per_word ? position / per_word : position * bits / word_bits(); }
  // Position counted from the first code that begins in or before word `word`; the staged line begins there.
  void Unpack(const std::byte* line, int64_t first, int64_t count, uint8_t* out) const {
    if (per_word) return UnpackWords(bits, line, first, count, out);
    UnpackDense(bits, line, first, count, out);
  }

  // Codes of one tile to rows of `out`: out[line][position], leading dimension kPositions. begin is a multiple of 32.
  void ReadTile(Range lines, Range positions, uint8_t* out) const {
    const int64_t size = DTypeBytes(words.dtype), aligned = AlignedPosition(positions.begin), skip = positions.begin - aligned;
    if (words.stride[1] == 1) {
      for (int64_t line = lines.begin; line < lines.end; ++line, out += kPositions) {
        const std::byte* data = words.data + (line * words.stride[0] + FirstWord(aligned)) * size;
        Unpack(data, skip, positions.size(), out);
      }
      return;
    }
    alignas(8) std::byte staged[kLines][kLineBytes];
    const int64_t first = FirstWord(aligned), last = FirstWord(positions.end - 1) + (per_word ? 0 : StraddlesAt(positions.end - 1));
    for (int64_t word = first; word <= last; ++word) {
      const std::byte* data = words.data + (word * words.stride[1] + lines.begin * words.stride[0]) * size;
      for (int64_t i = 0; i < lines.size(); ++i) {
        std::memcpy(staged[i] + (word - first) * size, data + i * words.stride[0] * size, static_cast<size_t>(size));
      }
    }
    for (int64_t i = 0; i < lines.size(); ++i) Unpack(staged[i], skip, positions.size(), out + i * kPositions);
  }

 private:
  // 32 codes always fill whole words of a dense stream.
  int64_t AlignedPosition(int64_t position) const { return per_word ? position - position % per_word : position - position % 32; }
  int64_t StraddlesAt(int64_t position) const { return (position * bits % word_bits()) + bits > word_bits() ? 1 : 0; }
};

void ReadAlongK(const Stream& stream, Range n, Range k, uint8_t* out) {
  alignas(8) uint8_t tile[kLines * kPositions];
  for (int64_t line = n.begin; line < n.end; line += kLines) {
    const Range lines{line, std::min(line + kLines, n.end)};
    for (int64_t position = k.begin; position < k.end;) {
      const Range positions{position, std::min(position + kPositions - 32, k.end)};
      stream.ReadTile(lines, positions, tile);
      for (int64_t i = 0; i < lines.size(); ++i) {
        std::memcpy(out + (lines.begin - n.begin + i) * k.size() + position - k.begin, tile + i * kPositions,
                    static_cast<size_t>(positions.size()));
      }
      position = positions.end;
    }
  }
}

void ReadAlongN(const Stream& stream, Range n, Range k, uint8_t* out) {
  alignas(8) uint8_t tile[kLines * kPositions];
  for (int64_t position = n.begin; position < n.end;) {
    const Range positions{position, std::min(position + kPositions - 32, n.end)};
    for (int64_t line = k.begin; line < k.end; line += kLines) {
      const Range lines{line, std::min(line + kLines, k.end)};
      stream.ReadTile(lines, positions, tile);
      uint8_t* corner = out + (position - n.begin) * k.size() + line - k.begin;
      for (int64_t row = 0; row < positions.size(); ++row) {
        for (int64_t i = 0; i < lines.size(); ++i) corner[row * k.size() + i] = tile[i * kPositions + row];
      }
    }
    position = positions.end;
  }
}

void ReadStream(const CodeSource& source, Range n, Range k, uint8_t* out) {
  const Stream stream{source.t[0], source.bits, source.arg[1]};
  const Range rows{n.begin + source.n0, n.end + source.n0}, cols{k.begin + source.k0, k.end + source.k0};
  if (rows.empty() || cols.empty()) return;
  if (source.arg[0] == static_cast<int64_t>(StreamAxis::kAlongK)) return ReadAlongK(stream, rows, cols, out);
  ReadAlongN(stream, rows, cols, out);
}

}  // namespace

CodeSource DenseStream(TensorView words, int bits, StreamAxis axis) {
  NIBBLE_CHECK(bits >= 1 && bits <= 8 && words.rank() == 2 && DTypeBytes(words.dtype) <= 4, "{} bits in {}", bits,
               words.shape.ToString());
  return {.read = ReadStream, .t = {words, {}}, .bits = bits, .arg = {static_cast<int64_t>(axis), 0, 0, 0}};
}

CodeSource WordStream(TensorView words, int bits, StreamAxis axis) {
  NIBBLE_CHECK(bits >= 1 && bits <= 8 && words.rank() == 2 && DTypeBytes(words.dtype) == 4, "{} bits in {}", bits,
               words.shape.ToString());
  return {.read = ReadStream, .t = {words, {}}, .bits = bits, .arg = {static_cast<int64_t>(axis), 32 / bits, 0, 0}};
}

void EncodeDenseStream(const uint8_t* codes, int64_t count, int bits, uint32_t* words, int64_t word_stride) {
  uint64_t pending = 0;
  int held = 0;
  for (int64_t i = 0; i < count; ++i) {
    pending |= static_cast<uint64_t>(codes[i] & ((1u << bits) - 1)) << held;
    held += bits;
    if (held < 32) continue;
    *words = static_cast<uint32_t>(pending);
    words += word_stride;
    pending >>= 32;
    held -= 32;
  }
  if (held > 0) *words = static_cast<uint32_t>(pending);
}

void EncodeWordStream(const uint8_t* codes, int64_t count, int bits, uint32_t* words, int64_t word_stride) {
  const int per_word = 32 / bits;
  for (int64_t begin = 0; begin < count; begin += per_word, words += word_stride) {
    uint32_t word = 0;
    for (int64_t i = begin; i < std::min(begin + per_word, count); ++i) {
      word |= (codes[i] & ((1u << bits) - 1)) << (bits * static_cast<int>(i - begin));
    }
    *words = word;
  }
}

}  // namespace nibble
