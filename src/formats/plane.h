// SPDX-License-Identifier: Apache-2.0
// Reading planes: one scale, zero point or additive term for each block of elements. Packers and DecodeRows read them here only, so
// that every stored spelling (transposed, double-quantized, packed like codes, flattened) is known in one place.
#pragma once

#include "formats/stored_weight.h"

namespace nibble {

// Groups [groups.begin, groups.end) of row `block_row` (a block of rows, phases already applied) of a plane that is not flat, as
// f32. Allocates nothing; thread-safe.
void ReadPlaneGroups(const Plane& plane, int64_t block_row, Range groups, float* out);

// value(n, k) of one plane of `coded` for row n and every column of k: out [k.size()]. All rules of Plane apply.
void ReadPlane(const Coded& coded, const Plane& plane, int64_t n, Range k, float* out);

// The scale product S, or S * S2 rounded to f32, that DecodeRows multiplies by (but for scale2_last). An S2 that is stored as a
// reciprocal divides: S / stored, one rounding. out [k.size()].
void ReadScales(const Coded& coded, int64_t n, Range k, float* out);

// Row of the body that logical row n is.
int64_t BodyRow(const StoredWeight& weight, int64_t n);

// Group of column k: 0 where all columns share.
int64_t GroupOf(const Coded& coded, const Plane& plane, int64_t k);

}  // namespace nibble
