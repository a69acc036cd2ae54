// SPDX-License-Identifier: Apache-2.0
#include "methods/compressed_tensors/sparse.h"

#include <bit>
#include <cstring>

#include "io/tensor_index.h"
#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr std::string_view kCompressed[] = {"compressed", "weight.compressed"}, kBitmask[] = {"bitmask", "weight.bitmask"},
                           kRowOffsets[] = {"row_offsets", "weight.row_offsets"}, kShape[] = {"shape", "weight.shape"};

// The spelling that the file has.
std::string_view SparseSpelling(const BoundParams& params, const std::string_view (&names)[2]) {
  return params.Find(names[1]) ? names[1] : names[0];
}

Result<Tensor> Expand(const BoundParams& params) {
  const std::string_view compressed = SparseSpelling(params, kCompressed), bitmask = SparseSpelling(params, kBitmask);
  NIBBLE_TRY(const TensorView mask, RequireParam(params, bitmask, {params.n, CeilDiv(params.k, 8)}));
  const TensorView values = params.View(compressed);
  if (!values || !values.contiguous() || !mask.contiguous()) {
    return Corrupt("{} is missing or not contiguous", ParamName(params, compressed));
  }
  const auto* bits = mask.as<uint8_t>();
  const int64_t size = DTypeBytes(values.dtype), row_bytes = mask.dim(1);
  Tensor whole(values.dtype, {params.n, params.k});
  int64_t next = 0;
  for (int64_t n = 0; n < params.n; ++n) {
    for (int64_t k = 0; k < params.k; ++k) {
      if (!(bits[n * row_bytes + k / 8] >> (k % 8) & 1)) continue;
      if (next >= values.elems()) {
        return Corrupt("{} holds {} values, {} marks more", ParamName(params, compressed), values.elems(), bitmask);
      }
      std::memcpy(whole.bytes->data() + (n * params.k + k) * size, values.data + next++ * size, static_cast<size_t>(size));
    }
  }
  if (next == values.elems()) return whole;
  return Corrupt("{} holds {} values, {} marks {}", ParamName(params, compressed), values.elems(), bitmask, next);
}

// [n,k] as the file says, where nobody else knows.
BoundParams WithSparseShape(const BoundParams& bound) {
  BoundParams params = bound;
  const TensorView shape = params.View(SparseSpelling(params, kShape));
  if (!shape || shape.elems() != 2 || !shape.contiguous()) return params;
  const float n = LoadScalar(shape.dtype, shape.data, 0), k = LoadScalar(shape.dtype, shape.data, 1);
  if (n < 1 || k < 1 || n >= 0x1p24f || k >= 0x1p24f) return params;
  if (params.n == 0) params.n = static_cast<int64_t>(n);
  if (params.k == 0) params.k = static_cast<int64_t>(k);
  return params;
}

class SparseLinearMethod : public LinearMethod {
 public:
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override { return SparseParams(); }
  Result<LinearPart> MakeWeight(const BoundParams& params) const override {
    NIBBLE_TRY(StoredWeight weight, ExpandSparse(params, [](const BoundParams& whole) -> Result<StoredWeight> {
                 const TensorView view = whole.View("weight");
                 if (DTypeBytes(view.dtype) > 1) return MakeDense(view, whole.origin("weight"), nullptr);
                 return Corrupt("{} is {} without scales", ParamName(whole, "weight"), DTypeName(view.dtype));
               }));
    return FinishPart(std::move(weight));
  }
};

}  // namespace

std::vector<ParamDecl> SparseParams() {
  const std::vector<DType> values = {DType::kE4M3, DType::kE5M2, DType::kI8, DType::kBF16, DType::kF16, DType::kF32};
  const std::vector<DType> indices = {DType::kI64, DType::kI32};
  std::vector<ParamDecl> params;
  for (const size_t i : {0, 1}) {
    params.push_back({kCompressed[i], values, ParamDecl::kPacked, false});
    params.push_back({kBitmask[i], {DType::kU8}, ParamDecl::kMeta, false});
    params.push_back({kRowOffsets[i], indices, ParamDecl::kMeta, false});
    params.push_back({kShape[i], indices, ParamDecl::kMeta, false});
  }
  return params;
}

bool IsSparse(const BoundParams& params) { return params.Find(SparseSpelling(params, kBitmask)) != nullptr; }
bool IsSparse(const LayerQuery& layer) { return layer.has(kBitmask[0]) || layer.has(kBitmask[1]); }

std::shared_ptr<const LinearMethod> MakeSparseMethod() { return std::make_shared<const SparseLinearMethod>(); }

Result<StoredWeight> ExpandSparse(const BoundParams& bound, const std::function<Result<StoredWeight>(const BoundParams&)>& make) {
  const BoundParams params = WithSparseShape(bound);
  NIBBLE_TRY(const Tensor expanded, Expand(params));
  StoredTensor tensor;
  tensor.name = params.name + ".weight";
  tensor.view = expanded.view;
  tensor.shape = expanded.view.shape;
  tensor.file = params.origin(SparseSpelling(params, kCompressed)).file;
  BoundParams whole = params;
  whole.params.emplace_back("weight", &tensor);
  NIBBLE_TRY(StoredWeight weight, make(whole));
  weight.keep.push_back(expanded.bytes);
  return weight;
}

}  // namespace nibble
