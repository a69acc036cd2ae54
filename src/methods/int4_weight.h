// SPDX-License-Identifier: Apache-2.0
// Signed 4-bit integers kept as two's complement nibbles, for every method whose checkpoints have them (ModelOpt, Quark). The table
// of their values stands in for a zero point that no unsigned code has.
#pragma once

#include "formats/packing/bit_stream.h"

namespace nibble {

// -8..7 by two's complement nibble, f32 [16].
TensorView SignedNibbleValues();

// W = S * value; scale is left to the caller. `words` as DenseStream wants them, first code in the low bits.
Coded SignedNibbles(const TensorView& words, StreamAxis axis);
// The same over any source of nibbles.
Coded SignedNibbles(const CodeSource& codes);

}  // namespace nibble
