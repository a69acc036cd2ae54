// SPDX-License-Identifier: Apache-2.0
#include "methods/compressed_tensors/uncompressed.h"

#include <algorithm>
#include <cmath>

#include "formats/plane.h"
#include "io/tensor_index.h"
#include "methods/compressed_tensors/weights.h"
#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

// What the codes of one scheme are.
struct Codes {
  DType type = DType::kI8;  // kI8, kE4M3, kE2M1
  float low = 0, high = 0;

  uint8_t Of(float x) const {
    x = std::clamp(x, low, high);
    if (type == DType::kI8) return static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(x)));
    return EncodeSmallFloat(type, x);
  }
};

Result<Codes> CodesOf(const BoundParams& params, const CtArgs& args) {
  if (!args.is_float) {
    const auto half = static_cast<float>(1 << (args.bits - 1));
    return Codes{DType::kI8, -half, half - 1};
  }
  if (args.bits == 8) return Codes{DType::kE4M3, -448, 448};
  if (args.bits == 4) return Codes{DType::kE2M1, -6, 6};
  return Unsupported("{}: uncompressed float weights of {} bits; known are 4 and 8", params.name, args.bits);
}

// Codes of zeros with the scales of the file: what tells the scale and the zero point of every element.
Result<StoredWeight> MakeCoded(const BoundParams& bound, const CtArgs& args, const Tensor& codes) {
  const bool nibbles = args.is_float && args.bits == 4;
  StoredTensor tensor;
  tensor.name = bound.name + ".weight";
  tensor.view = codes.view;
  tensor.shape = codes.view.shape;
  tensor.file = bound.origin("weight").file;
  BoundParams params = bound;
  std::erase_if(params.params, [](const auto& param) { return param.first == "weight"; });
  params.params.emplace_back(nibbles ? "weight_packed" : "weight", &tensor);
  const auto make = !args.is_float ? MakeInts : IsBlockFloat(args) ? MakeBlockFloats : MakeFloats;
  NIBBLE_TRY(StoredWeight weight, make(params, args));
  weight.keep.push_back(codes.bytes);
  return weight;
}

}  // namespace

Result<StoredWeight> MakeUncompressed(const BoundParams& bound, const CtArgs& args) {
  const BoundParams params = WithStoredShape(bound, {.suffix = "weight"});
  NIBBLE_TRY(const TensorView floats, RequireParam(params, "weight", {params.n, params.k}));
  if (!floats.contiguous()) return Corrupt("{} is not contiguous", ParamName(params, "weight"));
  NIBBLE_TRY(const Codes codes, CodesOf(params, args));
  const bool nibbles = codes.type == DType::kE2M1;
  if (nibbles && params.k % 2 != 0) return Corrupt("{}: {} columns, wanted an even number", params.name, params.k);
  Tensor bytes(nibbles ? DType::kU8 : codes.type, {params.n, nibbles ? params.k / 2 : params.k});
  NIBBLE_TRY(StoredWeight weight, MakeCoded(params, args, bytes));
  const auto& coded = std::get<Coded>(weight.body);
  const Range all{0, params.k};
  const auto width = static_cast<size_t>(params.k);
  std::vector<float> row(width), scales(width), zeros(width, coded.zero_default);
  auto* out = bytes.as<uint8_t>();
  for (int64_t n = 0; n < params.n; ++n) {
    ConvertToF32(floats.dtype, floats.data + n * params.k * DTypeBytes(floats.dtype), params.k, row.data());
    ReadScales(coded, n, all, scales.data());
    if (coded.zero) ReadPlane(coded, *coded.zero, n, all, zeros.data());
    for (size_t k = 0; k < width; ++k) {
      const float zero = args.is_float ? 0 : zeros[k] - coded.zero_default;
      const uint8_t code = codes.Of(row[k] / scales[k] + zero);
      if (nibbles)
        out[k / 2] = static_cast<uint8_t>(k % 2 == 0 ? code : out[k / 2] | code << 4);
      else
        out[k] = code;
    }
    out += bytes.view.dim(1);
  }
  return weight;
}

}  // namespace nibble
