// SPDX-License-Identifier: Apache-2.0
// Rewrites of a graph once its weights are known.
#pragma once

#include "graph/graph.h"
#include "graph/weights.h"

namespace nibble {

// Inserts one PrepareOp for each distinct form of x that a linear layer demands (shared by its parts), and a gather before it where
// the whole row is needed.
void InsertPrepare(Graph* graph, const BoundWeights& weights);

// Whether quantizing a row needs the other rows of its sequence: dynamic per-tensor scales, dynamic global scales,
// outlier columns.
bool NeedsAllRows(const ActivationSpec& act);
// Quark's FP8 scale "per token" is one for each position over all sequences of its batch: with Graph::batch_scales rows need those
// of their position.
bool SharesPositions(const ActivationSpec& act);

// Clears barrier_before where an op reads only rows that the same worker wrote: runs of row-wise ops (add, norm, prepare, rope,
// cache write, activation) become one stretch without a barrier, which is what fuses add + norm + quantize and activation +
// quantize.
void FuseRowwise(Graph* graph);

// Marks ops for steps of one row (Op::repeated, heads_of): rows cannot be divided there, so workers would wait for one of them.
// Call it after FuseRowwise. A layer of attention and MLP is left with five barriers: behind its four products and attention.
void RepeatRowwise(Graph* graph);

// Gives every buffer an offset in an arena of floats_per_row floats a row; buffers whose lifetimes do not overlap share space. Call
// it last: lifetimes are counted in barriers.
void PlanBuffers(Graph* graph);

// Buffers an op reads and writes.
struct OpBuffers {
  std::vector<BufferId> reads, writes;
};
OpBuffers BuffersOf(const AnyOp& op);
// Row i of the result depends on row i of the inputs alone, and rows are divided among workers by SplitRange.
bool IsRowwise(const AnyOp& op);

}  // namespace nibble
