// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "formats/packing/bit_stream.h"
#include "methods/checkpoint_test.h"

namespace nibble {
namespace {

TEST(SqueezeLlm, IndexesTheTableOfTheRow) {
  constexpr int64_t kN = 3, kK = 16;
  uint8_t codes[kK];
  std::vector<uint32_t> words(2 * kN);
  std::vector<float> table(kN * 16);
  for (int64_t n = 0; n < kN; ++n) {
    for (int64_t k = 0; k < kK; ++k) codes[k] = static_cast<uint8_t>((3 * n + 5 * k) % 16);
    EncodeDenseStream(codes, kK, 4, words.data() + n, kN);
    for (int64_t u = 0; u < 16; ++u) table[static_cast<size_t>(16 * n + u)] = static_cast<float>(100 * n + u);
  }
  StoredTensor qweight, lookup;
  qweight.view = TensorView(words.data(), DType::kI32, {2, kN});
  lookup.view = TensorView(table.data(), DType::kF32, {kN, 16});
  const auto config = *FindQuantization("squeezellm")->from_config(*ParseJson(R"({"wbits":4})", "test"), {"config.json"});
  const auto method = *config->GetQuantMethod({.name = "m"});
  BoundParams params{.name = "m", .params = {{"qweight", &qweight}, {"lookup_table", &lookup}}};
  const auto part = method->MakeWeight(params);
  ASSERT_TRUE(part) << part.error().ToString();
  ASSERT_EQ(part->weight->n, kN);
  ASSERT_EQ(part->weight->k, kK);
  std::vector<float> out(kN * kK);
  DecodeRows(*part->weight, {0, kN}, {0, kK}, out.data());
  for (int64_t n = 0; n < kN; ++n)
    for (int64_t k = 0; k < kK; ++k)
      EXPECT_EQ(out[static_cast<size_t>(n * kK + k)], static_cast<float>(100 * n + (3 * n + 5 * k) % 16));
  params.n = 4;
  params.k = 16;
  EXPECT_EQ(method->MakeWeight(params).error().code, Code::kCorrupt);
}

// Names that are known and not read are refused by name, with what to do.
TEST(Unread, MethodsAreRefusedByName) {
  for (const char* name : {"spqr", "higgs", "eetq", "quip", "tpu_int8"}) {
    const Json model = {{"quantization_config", {{"quant_method", name}}}};
    const auto config = LoadQuantizationConfig("folder", model);
    ASSERT_FALSE(config);
    EXPECT_EQ(config.error().code, Code::kUnsupported);
    EXPECT_NE(config.error().message.find(std::string("quant_method \"") + name + "\" is written by"), std::string::npos)
        << config.error().ToString();
  }
}

}  // namespace
}  // namespace nibble
