// SPDX-License-Identifier: Apache-2.0
// How the trellis-coded weights of a running engine are decoded.
#pragma once

#include <string>

#include "engine/engine.h"

namespace nibble {

// mode: "lut" (a table of the checkpoint's own values, the default), or "1mad", "2mad", "3inst", "mcg", "mul1": computed window by
// window. May be called between or during steps; all engines of the process follow. Usage error for unknown modes, models without
// trellis-coded weights, codes of two values a window, and, unless `force`, modes whose values are not those of the checkpoint.
Status SetDecodeMode(const Engine& engine, const std::string& mode, bool force);

}  // namespace nibble
