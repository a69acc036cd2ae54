// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "formats/transform.h"
#include "methods/checkpoint_test.h"
#include "methods/qtip/config.h"

namespace nibble {
namespace {

Result<QtipConfig> ParseQtip(const std::string& text) { return QtipConfig::Parse(*ParseJson(text, "test"), "config.json"); }

TEST(QtipConfig, NamesCodeAndOrder) {
  const auto hyb = ParseQtip(R"({"K":2,"V":2,"tlut_bits":9,"decode_mode":"quantlut_sym","L":16,"td_x":16,"td_y":16})");
  ASSERT_TRUE(hyb) << hyb.error().ToString();
  EXPECT_EQ(hyb->order, TrellisOrder::kKernel);
  EXPECT_EQ(hyb->code, TrellisCode::kQuantLutSym);
  const auto mad = ParseQtip(R"({"K":3,"V":1,"decode_mode":"1mad"})");
  ASSERT_TRUE(mad) << mad.error().ToString();
  EXPECT_EQ(mad->order, TrellisOrder::kPlain);
  EXPECT_EQ(mad->bits, 3);
}

TEST(QtipConfig, RefusesWhatItCannotMean) {
  EXPECT_EQ(ParseQtip(R"({"L":18})").error().code, Code::kUnsupported);
  EXPECT_EQ(ParseQtip(R"({"td_x":8})").error().code, Code::kUnsupported);
  EXPECT_EQ(ParseQtip(R"({"codebook":"e8p"})").error().code, Code::kUnsupported);
  EXPECT_EQ(ParseQtip(R"({"decode_mode":"mul1"})").error().code, Code::kUnsupported);
  EXPECT_EQ(ParseQtip(R"({"decode_mode":"1mad","V":2})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseQtip(R"({"decode_mode":"lut","tlut_bits":9,"V":1})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseQtip(R"({"decode_mode":"quantlut_sym","tlut_bits":9,"V":1})").error().code, Code::kCorrupt);
}

TEST(Qtip, BindsALayer) {
  const Json model = *ParseJson(R"({"quip_params":{"K":2,"V":2,"tlut_bits":9,"decode_mode":"quantlut_sym"}})", "test");
  const auto config = LoadQuantizationConfig("folder", model);
  ASSERT_TRUE(config) << config.error().ToString();
  EXPECT_EQ((*config)->name(), "qtip");
  const auto method = (*config)->GetQuantMethod({.name = "m", .has = [](std::string_view s) { return s == "trellis"; }}).value();
  std::vector<uint16_t> tiles(24 * 32), su(96), table(1024);
  std::vector<float> sv(64, 1);
  StoredTensor t, u, v, l;
  t.view = TensorView(tiles.data(), DType::kI16, {24, 32});
  u.view = TensorView(su.data(), DType::kF16, {96});
  v.view = TensorView(sv.data(), DType::kF32, {64});
  l.view = TensorView(table.data(), DType::kF16, {512, 2});
  BoundParams params{.name = "m", .params = {{"trellis", &t}, {"SU", &u}, {"SV", &v}, {"tlut", &l}}};
  const auto part = method->MakeWeight(params);
  ASSERT_TRUE(part) << part.error().ToString();
  EXPECT_EQ(part->weight->n, 64);
  EXPECT_EQ(part->weight->k, 96);
  EXPECT_TRUE(CheckTransforms(part->weight->in, 96));
  EXPECT_TRUE(CheckTransforms(part->weight->out, 64));
  EXPECT_EQ(Describe(*part->weight), "trellis2 scaled hadamard");
  params.n = 64;
  params.k = 80;
  EXPECT_FALSE(method->MakeWeight(params));
  t.view = TensorView(tiles.data(), DType::kI16, {24, 31});
  EXPECT_EQ(method->MakeWeight(params).error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
