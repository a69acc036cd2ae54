// SPDX-License-Identifier: Apache-2.0
#include "methods/param_checks.h"

#include "io/tensor_index.h"
#include "tensors/scalar.h"

namespace nibble {

std::string ParamName(const BoundParams& params, std::string_view suffix) {
  const std::string file = params.origin(suffix).file;
  return fmt::format("{}{}{}.{}", file, file.empty() ? "" : ": ", params.name, suffix);
}

Result<TensorView> RequireParam(const BoundParams& params, std::string_view suffix, std::initializer_list<int64_t> shape) {
  const TensorView view = params.View(suffix);
  if (!view) return Corrupt("{} is missing", ParamName(params, suffix));
  if (view.shape != Shape(shape)) {
    return Corrupt("{} is {}, wanted {} for a weight [{},{}] with the sizes and the group_size of config.json",
                   ParamName(params, suffix), view.shape.ToString(), Shape(shape).ToString(), params.n, params.k);
  }
  return view;
}

Result<TensorView> RequireRank(const BoundParams& params, std::string_view suffix, int rank) {
  const TensorView view = params.View(suffix);
  if (!view) return Corrupt("{} is missing", ParamName(params, suffix));
  if (view.rank() != rank) return Corrupt("{} is {}, wanted {} dimensions", ParamName(params, suffix), view.shape.ToString(), rank);
  return view;
}

Result<float> ScalarParam(const BoundParams& params, std::string_view suffix) {
  const TensorView view = params.View(suffix);
  if (!view) return Corrupt("{} is missing", ParamName(params, suffix));
  if (view.elems() != 1) return Corrupt("{} is {}, wanted one number", ParamName(params, suffix), view.shape.ToString());
  return LoadScalar(view.dtype, view.data, 0);
}

BoundParams WithStoredShape(const BoundParams& params, const StoredExtent& extent) {
  BoundParams shaped = params;
  const TensorView view = params.View(extent.suffix);
  if (!view || view.rank() != 2 || extent.row_den == 0 || extent.column_den == 0) return shaped;
  const int64_t rows = view.dim(0) * extent.row_num / extent.row_den, columns = view.dim(1) * extent.column_num / extent.column_den;
  if (shaped.n == 0) shaped.n = extent.swapped ? columns : rows;
  if (shaped.k == 0) shaped.k = extent.swapped ? rows : columns;
  return shaped;
}

TensorView AsMatrix(const TensorView& view) {
  if (view.rank() == 2) return view;
  if (view.elems() == 1) return view.Reshape({1, 1});
  if (view.rank() > 2) {
    TensorView matrix = view;
    for (int i = view.rank() - 1; i >= 0 && matrix.rank() > 2; --i)
      if (matrix.dim(i) == 1) matrix = matrix.Select(i, 0);
    return matrix;
  }
  TensorView column = view;
  column.shape = Shape{view.dim(0), 1};
  column.stride[1] = 1;
  return column;
}

Result<Plane> ScalePlane(const BoundParams& params, std::string_view suffix, int64_t block_n, int64_t block_k) {
  const TensorView view = params.View(suffix);
  if (!view) return Corrupt("{} is missing", ParamName(params, suffix));
  Plane plane;
  plane.data = AsMatrix(view);
  if (plane.data.rank() != 2)
    return Corrupt("{} is {}, wanted at most two dimensions other than 1", ParamName(params, suffix), view.shape.ToString());
  const int64_t rows = plane.data.dim(0), columns = plane.data.dim(1);
  const int64_t groups = block_k == 0 ? 1 : CeilDiv(params.k, block_k);
  if (rows == 1 && columns == 1) {
    plane.block_n = 0;
  } else if (rows == params.n && columns == 1 && groups == 1) {
    plane.block_n = 1;
  } else if (block_n > 0 && rows == CeilDiv(params.n, block_n) && columns == groups) {
    plane.block_n = block_n;
    plane.block_k = block_k;
  } else {
    return Corrupt("{} is {}, wanted [1], [{}] or [{},{}] for a weight [{},{}]", ParamName(params, suffix), view.shape.ToString(),
                   params.n, CeilDiv(params.n, block_n > 0 ? block_n : 1), groups, params.n, params.k);
  }
  return plane;
}

StoredWeight StartWeight(const BoundParams& params, std::string_view format, std::string_view main_suffix) {
  StoredWeight weight;
  weight.format = FindFormat(format);
  weight.n = params.n;
  weight.k = params.k;
  weight.origin = params.origin(main_suffix);
  for (const auto& [suffix, tensor] : params.params) {
    if (tensor && tensor->keep && (weight.keep.empty() || weight.keep.back() != tensor->keep)) weight.keep.push_back(tensor->keep);
  }
  return weight;
}

LinearPart FinishPart(StoredWeight weight, ActivationSpec act) {
  LinearPart part;
  part.weight = std::make_shared<const StoredWeight>(std::move(weight));
  part.act = act;
  return part;
}

Result<TensorView> GroupMap(const BoundParams& params, std::string_view suffix, int64_t group, int64_t groups,
                            StoredWeight& weight) {
  if (!params.Find(suffix)) return TensorView();
  NIBBLE_TRY(const TensorView view, RequireParam(params, suffix, {params.k}));
  Tensor copy(DType::kI32, {params.k});
  bool plain = true, unset = true;
  for (int64_t k = 0; k < params.k; ++k) {
    const auto index = static_cast<int64_t>(LoadScalar(view.dtype, view.data, k * view.stride[0]));
    plain = plain && index == (group > 0 ? k / group : 0);
    unset = unset && index == -1;
    copy.as<int32_t>()[k] = static_cast<int32_t>(index);
  }
  if (plain || unset) return TensorView();
  for (int64_t k = 0; k < params.k; ++k) {
    const int32_t index = copy.as<int32_t>()[k];
    if (index < 0 || index >= groups) {
      return Corrupt("{}: column {} names group {}, but there are {} groups", ParamName(params, suffix), k, index, groups);
    }
  }
  if (view.dtype == DType::kI32) return view;
  weight.keep.push_back(copy.bytes);
  return copy.view;
}

}  // namespace nibble
