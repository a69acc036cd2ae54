// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/checkpoint_test.h"
#include "methods/compressed_tensors/config.h"

namespace nibble {
namespace {

class CtCheckpoint : public ::testing::TestWithParam<const char*> {};

TEST_P(CtCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, CtCheckpoint,
                         ::testing::Values("llmcompressor-w4a16-g128-rtn", "llmcompressor-w4a16-g128-rtn-sharded",
                                           "llmcompressor-w4a16-g128-asym-gptq-actorder-weight", "llmcompressor-w3a16-g64-asym-rtn",
                                           "llmcompressor-old-w4a16-g128-gptq-actorder-group", "llmcompressor-w8a8-dynamic-smoothquant-gptq",
                                           "llmcompressor-w8a8-static-tensor-asym", "llmcompressor-w8a8-dynamic-token-asym",
                                           "llmcompressor-w4a8-g128-pack-quantized", "llmcompressor-w4afp8-g128", "llmcompressor-fp8-static",
                                           "llmcompressor-fp8-dynamic", "llmcompressor-fp8-block", "llmcompressor-moe-mixtral-w4a16-g128",
                                           "llmcompressor-spinquant-r1r2r4-block64-w4a16", "llmcompressor-quip-uv-hadamard-block64-w4a16"));

}  // namespace
}  // namespace nibble
