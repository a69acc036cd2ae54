// SPDX-License-Identifier: Apache-2.0
// What every MakeWeight does with bound parameters: shapes checked with a message that names file, tensor, found and wanted;
// scalars read; scale tensors of any spelling turned into planes.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "formats/stored_weight.h"
#include "methods/method.h"

namespace nibble {

// "model-1.safetensors: model.layers.0.mlp.up_proj.qweight"
std::string ParamName(const BoundParams& params, std::string_view suffix);

// The parameter, present and of this shape.
Result<TensorView> RequireParam(const BoundParams& params, std::string_view suffix, std::initializer_list<int64_t> shape);
// Present, any shape of this rank.
Result<TensorView> RequireRank(const BoundParams& params, std::string_view suffix, int rank);
// The only element, whatever the rank ([] or [1] or [1,1]).
Result<float> ScalarParam(const BoundParams& params, std::string_view suffix);

// The same parameters where n and k, if 0 ("take what is stored"), come from the 2-D tensor `suffix`: n = its rows * row_factor, k
// = its columns * column_factor (fractions: words of 32 bits hold 32 / bits codes); `swapped`: its rows are k.
struct StoredExtent {
  std::string_view suffix;
  int64_t row_num = 1, row_den = 1, column_num = 1, column_den = 1;
  bool swapped = false;
};
BoundParams WithStoredShape(const BoundParams& params, const StoredExtent& extent);

// [] [1] [1,1] -> [1,1]; [r] -> [r,1]; [r,c] as it is; [r,1,c,1] and the like -> [r,c].
TensorView AsMatrix(const TensorView& view);

// A scale (or zero point) of a weight [n,k] by what its shape says: one element per tensor; [n] or [n,1] per row; else
// [ceil(n/block_n), ceil(k/block_k)] with the blocks that the config names (block_k 0: the whole row). Errors name the tensor and
// the shapes that would do.
Result<Plane> ScalePlane(const BoundParams& params, std::string_view suffix, int64_t block_n, int64_t block_k);

// A weight of this format and shape whose views stay valid: keeps every bound parameter.
StoredWeight StartWeight(const BoundParams& params, std::string_view format, std::string_view main_suffix);
LinearPart FinishPart(StoredWeight weight, ActivationSpec act = {});

// k -> group as i32, or empty when the map is k / group (or absent, or all -1: unset). Errors: a length other than k, groups
// outside [0, groups). What is copied (i64 maps) is added to weight.keep.
Result<TensorView> GroupMap(const BoundParams& params, std::string_view suffix, int64_t group, int64_t groups,
                            StoredWeight& weight);

}  // namespace nibble
