// SPDX-License-Identifier: Apache-2.0
#include "methods/int4_weight.h"

namespace nibble {

TensorView SignedNibbleValues() {
  static constexpr float kValues[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
  return TensorView(kValues, DType::kF32, {16});
}

Coded SignedNibbles(const TensorView& words, StreamAxis axis) { return SignedNibbles(DenseStream(words, 4, axis)); }

Coded SignedNibbles(const CodeSource& codes) {
  Coded coded;
  coded.codes = codes;
  coded.rule = ValueRule::kTable;
  coded.table = SignedNibbleValues();
  return coded;
}

}  // namespace nibble
