// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/awq/config.h"
#include "methods/checkpoint_test.h"

namespace nibble {
namespace {

class AwqCheckpoint : public ::testing::TestWithParam<const char*> {};

TEST_P(AwqCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, AwqCheckpoint,
                         ::testing::Values("gptqmodel-awq-gemm-g128", "gptqmodel-awq-gemv-g128", "gptqmodel-awq-gemv-fast-g128",
                                           "autoawq-gemm-g128"));

}  // namespace
}  // namespace nibble
