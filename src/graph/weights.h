// SPDX-License-Identifier: Apache-2.0
// The weights of a graph on one rank, ready to run.
#pragma once

#include <memory>
#include <vector>

#include "kernels/linear.h"
#include "kv_cache/kv_format.h"

namespace nibble {

struct BoundLinear {
  PackedWeight packed;
  // Row-parallel parts whose demand on x needs the whole row (dynamic scales, rotations): ranks gather the row, `whole` is
  // prepared, and the product reads columns [column_begin, column_begin + packed.k) of it.
  bool gather = false;
  int64_t column_begin = 0, whole_k = 0;
  PackedWeight::Input whole;
  // A layer that could not be cut over ranks is computed whole: by every rank, which keeps these columns of the result (column
  // parallel); by rank 0 alone, the others add nothing (row parallel, no segments).
  std::vector<Range> keep_columns;
  // LinearSpec::latent: by head of this rank, keys transposed [k, keys] and values [values, k]; nothing else is used then.
  std::vector<PackedWeight> latent_keys, latent_values;

  // What has to be prepared, in order: packed.inputs, or the one whole row.
  size_t input_count() const { return gather ? 1 : packed.inputs.size(); }
  const PackedWeight::Input& input(size_t i) const { return gather ? whole : packed.inputs[i]; }
};

struct BoundExpert {
  PackedWeight w13, w2;  // [gate; up] and down; empty (no segments) when another rank has this expert
};

struct BoundWeights {
  std::vector<BoundLinear> linears;                             // by Graph::linears
  std::vector<std::vector<float>> vectors;                      // by Graph::vectors
  std::vector<std::shared_ptr<const StoredWeight>> embeddings;  // by Graph::embeddings: rows are decoded from the file
  std::vector<std::vector<BoundExpert>> moes;                   // by Graph::moes
  std::vector<KvRules> kv_rules;                                // by Graph::states, for this rank's heads
};

}  // namespace nibble
