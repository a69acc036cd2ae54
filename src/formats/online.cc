// SPDX-License-Identifier: Apache-2.0
#include "formats/online.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <vector>

#include "formats/integer_fit.h"
#include "formats/packing/bit_stream.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

// QLoRA's table: quantiles of the normal distribution, 0 among them.
constexpr float kNf4[16] = {-1.0f,
                            -0.6961928009986877f,
                            -0.5250730514526367f,
                            -0.39491748809814453f,
                            -0.28444138169288635f,
                            -0.18477343022823334f,
                            -0.09105003625154495f,
                            0.0f,
                            0.07958029955625534f,
                            0.16093020141124725f,
                            0.24611230194568634f,
                            0.33791524171829224f,
                            0.44070982933044434f,
                            0.5626170039176941f,
                            0.7229568362236023f,
                            1.0f};
// bitsandbytes' fp4: sign, two bits of exponent, one of mantissa, largest value 1.
constexpr float kFp4[16] = {0.0f,  0.005208333333f,  0.66666667f,  1.0f,  0.33333333f,  0.5f,  0.16666667f,  0.25f,
                            -0.0f, -0.005208333333f, -0.66666667f, -1.0f, -0.33333333f, -0.5f, -0.16666667f, -0.25f};

float LargestValue(DType dtype, int bits) {
  float largest = 0;
  for (int code = 0; code < 1 << bits; ++code) {
    const float value = DecodeSmallFloat(dtype, static_cast<uint8_t>(code));
    if (std::isfinite(value)) largest = std::max(largest, value);
  }
  return largest;
}

std::vector<OnlineFormat> MakeFormats() {
  using F = OnlineFormat;
  std::vector<F> rows = {
      {"fp8", "e4m3, a scale for each row", "fp8", F::kFloat, 8, 0, DType::kE4M3, DType::kF32, {}},
      {"fp8_e5m2", "e5m2, a scale for each row", "fp8", F::kFloat, 8, 0, DType::kE5M2, DType::kF32, {}},
      {"int8", "int8, a scale for each row", "int_group", F::kInteger, 8, 0, DType::kNone, DType::kF32, {}},
      {"int4", "int4, f16 scales for groups of 128", "int_group", F::kInteger, 4, 128, DType::kNone, DType::kF16, {}},
      {"nf4", "normal-float table, scales for blocks of 64", "table", F::kTable, 4, 64, DType::kNone, DType::kF32, kNf4},
      {"fp4", "4-bit float table, scales for blocks of 64", "table", F::kTable, 4, 64, DType::kNone, DType::kF32, kFp4},
      {"mxfp4", "e2m1, power-of-two scales for blocks of 32", "block_float", F::kMx, 4, 32, DType::kE2M1, DType::kE8M0, {}},
      {"mxfp6", "e2m3, power-of-two scales for blocks of 32", "block_float", F::kMx, 6, 32, DType::kE2M3, DType::kE8M0, {}},
      {"mxfp6_e3m2", "e3m2, power-of-two scales for blocks of 32", "block_float", F::kMx, 6, 32, DType::kE3M2, DType::kE8M0, {}},
      {"mxfp8", "e4m3, power-of-two scales for blocks of 32", "block_float", F::kMx, 8, 32, DType::kE4M3, DType::kE8M0, {}},
      {"nvfp4", "e2m1, e4m3 scales for blocks of 16", "block_float", F::kNvfp4, 4, 16, DType::kE2M1, DType::kE4M3, {}},
  };
  for (const FormatId format : Formats()) {
    if (format->block_elems > 1 && format->encode) rows.push_back({format->name, format->summary, format->name, F::kGgml});
  }
  return rows;
}

struct Encoded {
  Tensor codes, scales, scale2;  // u32 [n, words of a row]; scale dtype [n, blocks]; f32 [1,1]
};

// Encodes rows of one weight; each worker has one.
class RowEncoder {
 public:
  RowEncoder(const OnlineFormat& format, int64_t k, float scale2)
      : format_(format), k_(k), block_(format.block ? format.block : k), scale2_(scale2), codes_(static_cast<size_t>(k)) {
    if (format.code != DType::kNone) largest_ = LargestValue(format.code, format.bits);
  }

  void Encode(const float* w, int64_t row, Encoded* out) {
    const int64_t blocks = CeilDiv(k_, block_), words = DenseStreamWords(k_, format_.bits);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t begin = b * block_, count = std::min(block_, k_ - begin);
      const float scale = EncodeBlock(w + begin, count, codes_.data() + begin);
      StoreScalar(format_.scale, out->scales.bytes->data(), row * blocks + b, scale);
    }
    EncodeDenseStream(codes_.data(), k_, format_.bits, out->codes.as<uint32_t>() + row * words, 1);
  }

 private:
  float EncodeBlock(const float* w, int64_t count, uint8_t* codes) const {
    if (format_.rule == OnlineFormat::kInteger) {
      const IntegerFitOptions options{.bits = format_.bits, .scale_dtype = format_.scale};
      const IntegerFit fit = FitIntegers(w, nullptr, count, options);
      EncodeIntegers(w, count, format_.bits, fit, codes);
      return fit.scale;
    }
    float amax = 0;
    for (int64_t i = 0; i < count; ++i) amax = std::max(amax, std::fabs(w[i]));
    switch (format_.rule) {
      case OnlineFormat::kTable: return EncodeTable(w, count, amax, codes);
      case OnlineFormat::kMx: return EncodeMx(w, count, amax, codes);
      case OnlineFormat::kNvfp4: return EncodeNvfp4(w, count, amax, codes);
      default: return EncodeFloat(w, count, amax == 0 ? 1.0f : amax / largest_, codes);
    }
  }

  float EncodeFloat(const float* w, int64_t count, float scale, uint8_t* codes) const {
    for (int64_t i = 0; i < count; ++i) codes[i] = EncodeSmallFloat(format_.code, w[i] / scale);
    return scale;
  }

  float EncodeNvfp4(const float* w, int64_t count, float amax, uint8_t* codes) const {
    const float scale = DecodeSmallFloat(DType::kE4M3, EncodeSmallFloat(DType::kE4M3, amax / largest_ / scale2_));
    if (scale == 0) {  // zeros, or too small beside the rest of the matrix
      std::fill_n(codes, count, uint8_t{0});
      return 0;
    }
    EncodeFloat(w, count, scale * scale2_, codes);
    return scale;
  }

  // The smallest power of two under which nothing saturates, and the one below it: two candidates.
  float EncodeMx(const float* w, int64_t count, float amax, uint8_t* codes) const {
    if (amax == 0) return EncodeFloat(w, count, 1.0f, codes);
    int exponent = 0;
    std::frexp(amax / largest_, &exponent);  // amax / largest_ in [2^(exponent-1), 2^exponent)
    exponent = std::clamp(exponent, -125, 127);
    const float high = std::ldexp(1.0f, exponent), low = std::ldexp(1.0f, exponent - 1);
    return EncodeFloat(w, count, Error(w, count, low) < Error(w, count, high) ? low : high, codes);
  }

  double Error(const float* w, int64_t count, float scale) const {
    double error = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double d = static_cast<double>(w[i]) -
                       static_cast<double>(scale * DecodeSmallFloat(format_.code, EncodeSmallFloat(format_.code, w[i] / scale)));
      error += d * d;
    }
    return error;
  }

  float EncodeTable(const float* w, int64_t count, float amax, uint8_t* codes) const {
    const float scale = amax == 0 ? 1.0f : amax;
    for (int64_t i = 0; i < count; ++i) {
      const float x = w[i] / scale;
      const auto nearer = [x](float a, float b) { return std::fabs(a - x) < std::fabs(b - x); };
      codes[i] = static_cast<uint8_t>(std::min_element(format_.table.begin(), format_.table.end(), nearer) - format_.table.begin());
    }
    return scale;
  }

  const OnlineFormat& format_;
  const int64_t k_, block_;
  const float scale2_;
  float largest_ = 1;
  std::vector<uint8_t> codes_;
};

// Rows of one worker, decoded one strip at a time. visit(row, w) -> w has k values.
template <typename Visit>
void ForRows(const StoredWeight& source, Range rows, const Visit& visit) {
  constexpr int64_t kStrip = 16;
  std::vector<float> w(static_cast<size_t>(kStrip * source.k));
  for (int64_t begin = rows.begin; begin < rows.end; begin += kStrip) {
    const Range strip{begin, std::min(begin + kStrip, rows.end)};
    DecodeRows(source, strip, {0, source.k}, w.data());
    for (int64_t row = strip.begin; row < strip.end; ++row) visit(row, w.data() + (row - strip.begin) * source.k);
  }
}

struct Scan {
  float amax = 0;
  int64_t bad = -1;  // first weight that is not finite
};

// The largest |w|, and that all are finite.
Result<float> LargestWeight(const StoredWeight& source, ThreadTeam& team) {
  std::vector<Scan> scans(static_cast<size_t>(team.size()));
  team.Run([&](int worker) {
    Scan& scan = scans[static_cast<size_t>(worker)];
    ForRows(source, SplitRange(source.n, worker, team.size()), [&](int64_t row, const float* w) {
      for (int64_t k = 0; k < source.k && scan.bad < 0; ++k) {
        if (!std::isfinite(w[k])) scan.bad = row * source.k + k;
        scan.amax = std::max(scan.amax, std::fabs(w[k]));
      }
    });
  });
  float amax = 0;
  for (const Scan& scan : scans) {
    if (scan.bad >= 0)
      return Corrupt("{}: tensor \"{}\": the weight at row {}, column {} is not finite and cannot be quantized", source.origin.file,
                     source.origin.tensor, scan.bad / source.k, scan.bad % source.k);
    amax = std::max(amax, scan.amax);
  }
  return amax;
}

StoredWeight Start(const OnlineFormat& format, const StoredWeight& source) {
  StoredWeight weight;
  weight.format = FindFormat(format.stored);
  weight.n = source.n;
  weight.k = source.k;
  weight.origin = source.origin;
  weight.in = source.in;
  weight.out = source.out;
  weight.lora_a = source.lora_a;
  weight.lora_b = source.lora_b;
  if (!source.in.empty() || !source.out.empty() || source.lora_a) weight.keep = source.keep;
  return weight;
}

Result<StoredWeight> EncodeGgml(const OnlineFormat& format, const StoredWeight& source, ThreadTeam& team) {
  StoredWeight weight = Start(format, source);
  if (source.k % weight.format->block_elems != 0)
    return Unsupported("tensor \"{}\": rows of {} are no whole blocks of {} of {}", source.origin.tensor, source.k,
                       weight.format->block_elems, format.name);
  const int64_t row_bytes = weight.format->row_bytes(source.k);
  Tensor blocks(DType::kU8, {source.n, row_bytes});
  team.Run([&](int worker) {
    ForRows(source, SplitRange(source.n, worker, team.size()),
            [&](int64_t row, const float* w) { weight.format->encode(w, source.k, blocks.bytes->data() + row * row_bytes); });
  });
  weight.body = Blocked{.blocks = blocks.view};
  weight.keep.push_back(blocks.bytes);
  return weight;
}

StoredWeight FinishOnline(const OnlineFormat& format, const StoredWeight& source, const Encoded& encoded) {
  StoredWeight weight = Start(format, source);
  Coded coded;
  coded.codes = DenseStream(encoded.codes.view, format.bits, StreamAxis::kAlongK);
  coded.scale = {.data = encoded.scales.view, .block_k = format.block};
  weight.keep.push_back(encoded.codes.bytes);
  weight.keep.push_back(encoded.scales.bytes);
  if (format.rule == OnlineFormat::kInteger) {
    coded.zero_default = static_cast<float>(1 << (format.bits - 1));
  } else if (format.rule == OnlineFormat::kTable) {
    coded.rule = ValueRule::kTable;
    const Tensor table(DType::kF32, {static_cast<int64_t>(format.table.size())});
    std::copy(format.table.begin(), format.table.end(), reinterpret_cast<float*>(table.bytes->data()));
    coded.table = table.view;
    weight.keep.push_back(table.bytes);
  } else {
    coded.rule = ValueRule::kFloat;
    coded.float_type = format.code;
  }
  if (encoded.scale2.view) {
    coded.scale2 = Plane{.data = encoded.scale2.view, .block_n = 0, .block_k = 0};
    weight.keep.push_back(encoded.scale2.bytes);
  }
  weight.body = std::move(coded);
  return weight;
}

}  // namespace

std::span<const OnlineFormat> OnlineFormats() {
  static const std::vector<OnlineFormat> rows = MakeFormats();
  return rows;
}

const OnlineFormat* FindOnlineFormat(std::string_view name) {
  for (const OnlineFormat& row : OnlineFormats())
    if (row.name == name) return &row;
  return nullptr;
}

Result<StoredWeight> EncodeOnline(const OnlineFormat& format, const StoredWeight& source, ThreadTeam& team) {
  NIBBLE_TRY(const float amax, LargestWeight(source, team));
  if (format.rule == OnlineFormat::kGgml) return EncodeGgml(format, source, team);
  Encoded encoded;
  encoded.codes = Tensor(DType::kU32, {source.n, DenseStreamWords(source.k, format.bits)});
  encoded.scales = Tensor(format.scale, {source.n, format.block ? CeilDiv(source.k, format.block) : 1});
  float scale2 = 1;
  if (format.rule == OnlineFormat::kNvfp4) {
    scale2 = amax == 0 ? 1.0f : amax / (448.0f * 6.0f);
    encoded.scale2 = Tensor(DType::kF32, {1, 1});
    *encoded.scale2.as<float>() = scale2;
  }
  team.Run([&](int worker) {
    RowEncoder encoder(format, source.k, scale2);
    ForRows(source, SplitRange(source.n, worker, team.size()),
            [&](int64_t row, const float* w) { encoder.Encode(w, row, &encoded); });
  });
  return FinishOnline(format, source, encoded);
}

}  // namespace nibble
