// SPDX-License-Identifier: Apache-2.0
// The router of a mixture of experts: logits of one row -> the chosen experts and their weights.
#pragma once

#include "graph/graph.h"

namespace nibble {

// logits, bias [experts] (bias null: none); chosen, weights [top_k], best first; equal scores go to the lower expert.
void ChooseExperts(const MoeSpec& spec, const float* logits, const float* bias, const CpuOps& ops, int32_t* chosen, float* weights);

}  // namespace nibble
