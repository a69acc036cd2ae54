// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "formats/transform.h"
#include "formats/trellis/trellis.h"
#include "methods/checkpoint_test.h"

namespace nibble {
namespace {

struct Exl3Module {
  std::vector<uint16_t> tiles = std::vector<uint16_t>(8 * 16 * 48), signs = std::vector<uint16_t>(8, 0x8001);
  std::vector<float> svh = std::vector<float>(256, 2);
  int32_t flag = 0;
  std::vector<StoredTensor> tensors = std::vector<StoredTensor>(4);
  BoundParams params{.name = "m"};

  Exl3Module() {
    for (size_t i = 0; i < tiles.size(); ++i) tiles[i] = static_cast<uint16_t>(i * 40503);
    tensors[0].view = TensorView(tiles.data(), DType::kI16, {8, 16, 48});
    tensors[1].view = TensorView(signs.data(), DType::kI16, {8});
    tensors[2].view = TensorView(svh.data(), DType::kF32, {256});
    tensors[3].view = TensorView(&flag, DType::kI32, {});
    params.params = {{"trellis", &tensors[0]}, {"su", &tensors[1]}, {"svh", &tensors[2]}, {"mul1", &tensors[3]}};
  }
  Result<LinearPart> Load() const {
    const auto config =
        *FindQuantization("exl3")->from_config(*ParseJson(R"({"bits":3.0,"head_bits":6})", "test"), {"config.json"});
    return (*config->GetQuantMethod({.name = "m"}))->MakeWeight(params);
  }
};

TEST(Exl3, BindsTrellisCodeAndRotations) {
  Exl3Module module;
  const auto part = module.Load();
  ASSERT_TRUE(part) << part.error().ToString();
  const StoredWeight& weight = *part->weight;
  EXPECT_EQ(weight.n, 256);
  EXPECT_EQ(weight.k, 128);
  EXPECT_EQ(std::get<Trellis>(weight.body).bits, 3);
  EXPECT_EQ(std::get<Trellis>(weight.body).codebook, static_cast<uint8_t>(TrellisCode::kMul1));
  ASSERT_EQ(weight.in.size(), 2u);
  EXPECT_EQ(weight.in[1].block, 128);
  EXPECT_EQ(LoadScalar(DType::kF32, weight.in[0].data.data, 0), -1);  // bits 0 and 15 of each word are set
  EXPECT_EQ(LoadScalar(DType::kF32, weight.in[0].data.data, 1), 1);
  EXPECT_EQ(LoadScalar(DType::kF32, weight.in[0].data.data, 31), -1);
  EXPECT_TRUE(CheckTransforms(weight.in, 128));
  EXPECT_TRUE(CheckTransforms(weight.out, 256));
  EXPECT_FALSE(Slice(weight, {0, 128}, {0, 128}));  // ranks compute it whole
}

TEST(Exl3, RefusesWhatDoesNotFit) {
  Exl3Module module;
  module.params.n = 128;
  module.params.k = 128;
  EXPECT_EQ(module.Load().error().code, Code::kCorrupt);
  module.params.n = 250;
  EXPECT_EQ(module.Load().error().code, Code::kUnsupported);
  Exl3Module both;
  both.params.params.emplace_back("mcg", &both.tensors[3]);
  EXPECT_EQ(both.Load().error().code, Code::kCorrupt);
  Exl3Module odd;
  odd.tensors[0].view = TensorView(odd.tiles.data(), DType::kI16, {8, 16, 47});
  EXPECT_EQ(odd.Load().error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
