// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/checkpoint_test.h"
#include "methods/gptq/config.h"

namespace nibble {
namespace {

class GptqCheckpoint : public ::testing::TestWithParam<const char*> {};

TEST_P(GptqCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, GptqCheckpoint,
                         ::testing::Values("gptqmodel-4bit-g128-sym", "gptqmodel-4bit-g128-asym-desc", "gptqmodel-4bit-g128-asym-gptq-v2",
                                           "gptqmodel-2bit-g64", "gptqmodel-3bit-g128", "gptqmodel-4bit-channel", "gptqmodel-dynamic",
                                           "gptqmodel-lm-head", "gptqmodel-embed-both", "gptqmodel-rotation-hadamard"));

}  // namespace
}  // namespace nibble
