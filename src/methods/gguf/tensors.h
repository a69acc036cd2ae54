// SPDX-License-Identifier: Apache-2.0
// The tensors of a GGUF file under the names and in the pieces that the hub has.
#pragma once

#include <map>

#include "methods/gguf/config.h"
#include "tensors/tensor_view.h"

namespace nibble {

struct GgufTensors {
  TensorIndex tensors;
  std::map<std::string, Tensor, std::less<>> row_maps;     // by module: logical row -> row of the file, where they differ
  std::map<std::string, Tensor, std::less<>> column_maps;  // by module: column of the file -> logical column
};

// Names of no known meaning stay, so that whoever checks for leftovers can name them. Matrices are views of the file; vectors whose
// values are others on the hub are computed.
Result<GgufTensors> HubTensors(const GgufFile& file, const GgufModel& model);

// Row r of this map is the row of an interleaved file: of a head of d rows, logical row h * d/2 + i (h = 0, 1) is row 2 i + h.
Tensor InterleavedRows(int64_t heads, int64_t head_dim);

}  // namespace nibble
