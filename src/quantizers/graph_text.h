// SPDX-License-Identifier: Apache-2.0
// A graph as text, to tell whether two models compute the same function of their weights.
#pragma once

#include <string>

#include "models/loader.h"

namespace nibble {

// Every operation with its numbers, in order; neither names nor rope frequencies (those are floats that may be rounded on the way).
// windows false: the number of positions that attention sees is left out.
std::string GraphText(const Graph& graph, bool windows);

}  // namespace nibble
