// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/checkpoint_test.h"
#include "methods/fp8/config.h"

namespace nibble {
namespace {

class Fp8Checkpoint : public ::testing::TestWithParam<const char*> {};

TEST_P(Fp8Checkpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, Fp8Checkpoint, ::testing::Values("gptqmodel-fp8-row", "hf-fp8-block128"));

}  // namespace
}  // namespace nibble
