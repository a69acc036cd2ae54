// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/log.h"
#include "formats/transform.h"
#include "methods/checkpoint_test.h"
#include "methods/compressed_tensors/config.h"
#include "methods/compressed_tensors/rotations.h"

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
                                           "llmcompressor-old-w4a16-g128-gptq-actorder-group",
                                           "llmcompressor-w8a8-dynamic-smoothquant-gptq", "llmcompressor-w8a8-static-tensor-asym",
                                           "llmcompressor-w8a8-dynamic-token-asym", "llmcompressor-w4a8-g128-pack-quantized",
                                           "llmcompressor-w4afp8-g128", "llmcompressor-fp8-static", "llmcompressor-fp8-dynamic",
                                           "llmcompressor-fp8-block", "llmcompressor-moe-mixtral-w4a16-g128",
                                           "llmcompressor-spinquant-r1r2r4-block64-w4a16",
                                           "llmcompressor-quip-uv-hadamard-block64-w4a16", "llmcompressor-mxfp4",
                                           "llmcompressor-mxfp8", "llmcompressor-nvfp4-kv-fp8", "llmcompressor-nvfp4a16-awq",
                                           "llmcompressor-mixed-nvfp4-mlp-fp8-attn", "llmcompressor-old-marlin24-w4a16-g128",
                                           "llmcompressor-old-sparse24-bitmask-fp8-dynamic"));

class CtGolden : public ::testing::TestWithParam<const char*> {};
TEST_P(CtGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/compressed_tensors/golden/" + std::string(GetParam()));
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, CtGolden,
                         ::testing::Values("llmcompressor-w4a16-g128-asym-gptq-actorder-weight", "llmcompressor-w3a16-g64-asym-rtn",
                                           "llmcompressor-old-w4a16-g128-gptq-actorder-group",
                                           "llmcompressor-w8a8-static-tensor-asym", "llmcompressor-fp8-block",
                                           "llmcompressor-mxfp4", "llmcompressor-mxfp8", "llmcompressor-nvfp4-kv-fp8",
                                           "llmcompressor-old-marlin24-w4a16-g128",
                                           "llmcompressor-old-sparse24-bitmask-fp8-dynamic"));

Result<std::unique_ptr<QuantizationConfig>> ParseCompressedTensors(const std::string& text) {
  return FindQuantization("compressed-tensors")->from_config(*ParseJson(text, "test"), {"config.json", nullptr});
}

TEST(CtConfig, NamesBeatExpressionsBeatClasses) {
  const CtConfig config = *CtConfig::Parse(*ParseJson(R"({"format":"pack-quantized","config_groups":{
    "group_0":{"targets":["Linear"],"weights":{"num_bits":4,"group_size":128}},
    "group_1":{"targets":["re:.*mlp.*"],"weights":{"num_bits":8,"strategy":"channel"},"format":"int-quantized"},
    "group_2":{"targets":["a.mlp.up_proj"],"weights":{"num_bits":3,"group_size":64}}}})",
                                                      "test"),
                                           "x");
  const auto group = [&](const char* name, const char* fused = "") {
    return config.FindGroup({.kind = LayerKind::kLinear, .name = name, .fused_name = fused})->name;
  };
  EXPECT_EQ(group("a.mlp.up_proj"), "group_2");
  EXPECT_EQ(group("b.mlp.up_proj"), "group_1");
  EXPECT_EQ(group("a.q_proj"), "group_0");
  EXPECT_EQ(group("a.q_proj", "a.mlp_qkv"), "group_1");
  EXPECT_EQ(config.FindGroup({.kind = LayerKind::kEmbedding, .name = "embed"}), nullptr);
  EXPECT_EQ(config.groups[0].weights->strategy, CtArgs::kGroup);
  EXPECT_EQ(config.groups[0].format, "pack-quantized");
  EXPECT_EQ(config.groups[1].format, "int-quantized");
}

TEST(CtConfig, ActivationsAreThoseOfTheScheme) {
  const auto checkpoint =
      testing::TestCheckpoint::Open(testing::Repo("src/methods/compressed_tensors/golden/llmcompressor-w8a8-static-tensor-asym"));
  const ActivationSpec act = checkpoint.Load("model.layers.0.self_attn.k_proj", 128, 256)->act;
  EXPECT_EQ(act.grain, ActivationSpec::kTensor);
  EXPECT_FALSE(act.dynamic);
  EXPECT_FALSE(act.symmetric);
  EXPECT_EQ(act.rule, ActivationSpec::kCompressedTensors);
  EXPECT_GT(act.scale, 0);
  EXPECT_NE(act.zero, 0);
}

TEST(CtConfig, RefusesWhatItCannotMean) {
  const auto with_weights = [](const std::string& weights, const std::string& format = "pack-quantized") {
    return ParseCompressedTensors(R"({"format":")" + format + R"(","config_groups":{"g":{"targets":["Linear"],"weights":)" +
                                  weights + "}}}");
  };
  EXPECT_EQ(with_weights(R"({"strategy":"group"})").error().code, Code::kCorrupt);
  EXPECT_EQ(with_weights(R"({"strategy":"block"})").error().code, Code::kCorrupt);
  EXPECT_EQ(with_weights(R"({"strategy":"fancy"})").error().code, Code::kUnsupported);
  EXPECT_EQ(with_weights(R"({"num_bits":16})").error().code, Code::kUnsupported);
  EXPECT_EQ(with_weights(R"({"dynamic":"often"})").error().code, Code::kCorrupt);
  EXPECT_EQ(with_weights(R"({"strategy":"block","block_structure":"128x64"})")->get()->name(), "compressed_tensors");
  const auto config =
      *with_weights(R"({"num_bits":4,"type":"float","strategy":"tensor_group","group_size":16})", "fancy-quantized");
  const std::string text = config->GetQuantMethod({.name = "a"}).error().ToString();
  EXPECT_NE(text.find("fancy-quantized"), std::string::npos) << text;
  EXPECT_EQ(ParseCompressedTensors(R"({"sparsity_config":{"format":"sparse-5-of-7"}})").error().code, Code::kUnsupported);
  EXPECT_TRUE(ParseCompressedTensors(
      R"({"sparsity_config":{},"transform_config":{},"config_groups":{},"kv_cache_scheme":{"num_bits":8,"type":"float"}})"));
}

TEST(CtConfig, KvScalesWarnWhenAbsentAndWhenNonsense) {
  const auto config = *ParseCompressedTensors(R"({"kv_cache_scheme":{"num_bits":8,"type":"float"}})");
  const auto method = *config->GetKvCacheMethod({.kind = LayerKind::kAttention, .name = "a.self_attn"});
  ASSERT_TRUE(method);
  const uint16_t half = 0x3f00, nan = 0x7fc0;
  StoredTensor k{.view = TensorView(&half, DType::kBF16, {1})}, v{.view = TensorView(&nan, DType::kBF16, {1})};
  std::vector<std::string> warnings;
  SetLogSink([&](LogLevel, const std::string& text) { warnings.push_back(text); });
  const auto scales = method->ProcessWeightsAfterLoading({.name = "a.self_attn", .params = {{"k_scale", &k}, {"v_scale", &v}}});
  const auto none = method->ProcessWeightsAfterLoading({.name = "b.self_attn"});
  SetLogSink(nullptr);
  EXPECT_EQ(method->formats(), KvFormats(DType::kE4M3));
  EXPECT_EQ(scales->k.scale, std::vector{0.5f});
  EXPECT_EQ(scales->v.scale, std::vector{1.0f});
  EXPECT_EQ(none->k.scale, std::vector{1.0f});
  EXPECT_EQ(warnings.size(), 3u);
}

TEST(CtConfig, KvScalesByHeadAndZeroPoints) {
  const auto integers = *(*ParseCompressedTensors(R"({"kv_cache_scheme":{"num_bits":8,"type":"int"}})"))->GetKvCacheMethod({});
  EXPECT_EQ(integers->formats(), StaticInt8Kv());
  const float k_scales[2] = {0.5f, 2.0f}, v_scale = 0.25f;
  const int8_t k_zeros[2] = {0, -3}, v_zero = 0;
  StoredTensor k{.view = TensorView(k_scales, DType::kF32, {2, 1, 1})}, v{.view = TensorView(&v_scale, DType::kF32, {1})};
  StoredTensor kz{.view = TensorView(k_zeros, DType::kI8, {2, 1, 1})}, vz{.view = TensorView(&v_zero, DType::kI8, {1})};
  const BoundParams params{.name = "a.self_attn",
                           .params = {{"k_scale", &k}, {"v_scale", &v}, {"k_zero_point", &kz}, {"v_zero_point", &vz}}};
  const KvRules rules = *integers->ProcessWeightsAfterLoading(params);
  EXPECT_EQ(rules.k.bias, (std::vector{-0.0f, 6.0f}));
  EXPECT_TRUE(rules.v.bias.empty());
  const KvRule second = *rules.k.ForHeads(1, 1, 2, 3);
  EXPECT_EQ(second.scale, std::vector{2.0f});
  EXPECT_EQ(second.bias, (std::vector{6.0f, 6.0f, 6.0f}));
  EXPECT_EQ(rules.k.ForHeads(0, 4, 4, 3).error().message, "2 scales for 4 key/value heads");
  const auto fewer = *(*ParseCompressedTensors(R"({"kv_cache_scheme":{"num_bits":4,"type":"int"}})"))->GetKvCacheMethod({});
  EXPECT_FALSE(fewer->formats());
}

// The published matrix, stored as the values that are not zero.
TEST(CtSparse, BitmasksOfPlainLayersAreExpanded) {
  const auto config = *ParseCompressedTensors(R"({"sparsity_config":{"format":"sparse-bitmask"}})");
  const LayerQuery layer{.name = "a", .has = [](std::string_view suffix) { return suffix == "bitmask" || suffix == "compressed"; }};
  const auto method = *config->GetQuantMethod(layer);
  ASSERT_TRUE(method);
  const float values[5] = {5, -1, 2, 3, 4};
  const uint8_t mask[4] = {0x12, 0x01, 0x08, 0x02};
  const int64_t shape[2] = {2, 10}, offsets[2] = {0, 3};
  StoredTensor compressed{.view = TensorView(values, DType::kF32, {5})}, bitmask{.view = TensorView(mask, DType::kU8, {2, 2})},
      extent{.view = TensorView(shape, DType::kI64, {2})}, rows{.view = TensorView(offsets, DType::kI64, {2})};
  BoundParams params{.name = "a",
                     .params = {{"compressed", &compressed}, {"bitmask", &bitmask}, {"shape", &extent}, {"row_offsets", &rows}}};
  const auto part = method->MakeWeight(params);
  ASSERT_TRUE(part) << part.error().ToString();
  std::vector<float> found(20), wanted = {0, 5, 0, 0, -1, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 4};
  DecodeRows(*part->weight, {0, 2}, {0, 10}, found.data());
  EXPECT_EQ(found, wanted);
  compressed.view = TensorView(values, DType::kF32, {4});
  EXPECT_EQ(method->MakeWeight(params).error().code, Code::kCorrupt);
}

TEST(CtTransforms, OnlineRotationsBecomeTransforms) {
  const auto config = *ParseCompressedTensors(
      R"({"format":"int-quantized","config_groups":{"g":{"targets":["Linear"],"weights":{"num_bits":8,"strategy":"channel"}}},
    "transform_config":{"config_groups":{"R4":{"type":"hadamard","head_dim":4,"apply":[
      {"targets":["re:.*down_proj$"],"location":"input"},{"targets":["re:.*"],"location":"weight_input","inverse":true}]}}}})");
  const int8_t codes[16] = {1, 2, 3, 4};
  const float scales[2] = {1, 2};
  StoredTensor weight{.view = TensorView(codes, DType::kI8, {2, 8})}, scale{.view = TensorView(scales, DType::kF32, {2, 1})};
  const BoundParams params{.name = "x", .n = 2, .k = 8, .params = {{"weight", &weight}, {"weight_scale", &scale}}};
  const auto down = (*config->GetQuantMethod({.name = "a.down_proj"}))->MakeWeight(params);
  ASSERT_TRUE(down) << down.error().ToString();
  ASSERT_EQ(down->weight->in.size(), 1u);
  EXPECT_EQ(down->weight->in[0].kind, Transform::kHadamard);
  EXPECT_EQ(down->weight->in[0].block, 4);
  EXPECT_TRUE((*config->GetQuantMethod({.name = "a.up_proj"}))->MakeWeight(params)->weight->in.empty());
}

constexpr const char* kInt8Channel = R"("format":"int-quantized","config_groups":{"g":{"targets":["Linear"],
    "weights":{"num_bits":8,"strategy":"channel"}}})";

// A matrix of +-1 that the file stores under another module: diag(signs) (base (x) Sylvester) is recognized.
TEST(CtTransforms, MatricesAreSharedByModulesOfOneSize) {
  double matrix[4][4];
  const double signs[4] = {1, -1, -1, 1};
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) matrix[i][j] = signs[i] * (std::popcount(static_cast<unsigned>(i & j)) % 2 ? -1 : 1);
  double other[2][2] = {{3, 4}, {5, 6}};
  std::vector<StoredTensor> stored(2);
  stored[0].name = "a.down_proj.R4_input.weight";
  stored[0].view = TensorView(&matrix[0][0], DType::kF64, {4, 4});
  stored[1].name = "a.down_proj.u_output.weight";
  stored[1].view = TensorView(&other[0][0], DType::kF64, {2, 2});
  const TensorIndex index = *TensorIndex::Make(std::move(stored));
  const std::string text = fmt::format(
      R"({{{},"transform_config":{{"config_groups":{{
      "R4":{{"type":"random-hadamard","head_dim":4,"apply":[{{"targets":["re:.*down_proj$"],"location":"input"}}]}},
      "u":{{"type":"random-matrix","apply":[{{"targets":["re:.*down_proj$"],"location":"output","inverse":true}}]}}}}}}}})",
      kInt8Channel);
  const auto config =
      *FindQuantization("compressed-tensors")->from_config(*ParseJson(text, "test"), {.where = "config.json", .tensors = &index});
  const int8_t codes[16] = {1, 2, 3, 4};
  const float scales[3] = {1, 2, 3};
  StoredTensor weight{.view = TensorView(codes, DType::kI8, {2, 8})}, scale{.view = TensorView(scales, DType::kF32, {2, 1})};
  BoundParams params{.name = "b.down_proj", .n = 2, .k = 8, .params = {{"weight", &weight}, {"weight_scale", &scale}}};
  const auto part = (*config->GetQuantMethod({.name = "b.down_proj"}))->MakeWeight(params);
  ASSERT_TRUE(part) << part.error().ToString();
  ASSERT_EQ(part->weight->in.size(), 1u);
  EXPECT_EQ(part->weight->in[0].kind, Transform::kHadamard);
  float x[8] = {1, 2, 3, 4, -1, 0, 2, 1}, scratch[8];
  std::vector<float> wanted;
  for (int block = 0; block < 2; ++block)
    for (int j = 0; j < 4; ++j) {
      double sum = 0;
      for (int i = 0; i < 4; ++i) sum += static_cast<double>(x[4 * block + i]) * matrix[i][j] / 2;
      wanted.push_back(static_cast<float>(sum));
    }
  ASSERT_TRUE(ApplyTransforms(part->weight->in, x, 8, scratch));
  EXPECT_EQ(std::vector<float>(x, x + 8), wanted);
  float y[2] = {1, 10};  // y M as stored, though the scheme says inverse: the file holds the inverse
  ASSERT_TRUE(ApplyTransforms(part->weight->out, y, 2, scratch));
  EXPECT_EQ(y[0], 53);
  EXPECT_EQ(y[1], 64);
  weight.view = TensorView(codes, DType::kI8, {3, 4});
  scale.view = TensorView(scales, DType::kF32, {3, 1});
  params.n = 3, params.k = 4;
  const auto missing = (*config->GetQuantMethod({.name = "b.down_proj"}))->MakeWeight(params);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().ToString().find("u_output"), std::string::npos) << missing.error().ToString();
}

// Rows and columns of the stored matrix in the order of "perm".
TEST(CtTransforms, RandomizedOnesArePermuted) {
  const float matrix[4] = {1, 1, 1, -1};
  const int64_t order[2] = {1, 0};
  const auto apply = [&](std::vector<StoredTensor> stored) -> Result<std::vector<float>> {
    NIBBLE_TRY(const TensorIndex index, TensorIndex::Make(std::move(stored)));
    CtTransform transform{.kind = CtTransform::kHadamard, .name = "R", .randomize = true, .block = 2};
    const CtRotations rotations({transform}, &index);
    NIBBLE_TRY(const CtRotation rotation, rotations.Make(transform, "b", 2));
    std::vector<float> x = {3, 5}, scratch(2);
    NIBBLE_RETURN_IF_ERROR(ApplyTransforms({&rotation.transform, 1}, x.data(), 2, scratch.data()));
    return x;
  };
  std::vector<StoredTensor> stored(1);
  stored[0].name = "a.R_input.weight";
  stored[0].view = TensorView(matrix, DType::kF32, {2, 2});
  EXPECT_EQ(apply(stored).error().code, Code::kCorrupt);
  stored.emplace_back();
  stored[1].name = "a.R_input.perm";
  stored[1].view = TensorView(order, DType::kI64, {2});
  const auto turned = apply(stored);
  ASSERT_TRUE(turned) << turned.error().ToString();
  EXPECT_NEAR((*turned)[0], 2 / std::sqrt(2.0), 1e-6);  // [3 5] [-1 1; 1 1] / sqrt(2)
  EXPECT_NEAR((*turned)[1], 8 / std::sqrt(2.0), 1e-6);
}

TEST(CtTransforms, QueriesAndKeysMustTurnAlike) {
  const auto with = [](const char* type, const char* second) {
    return ParseCompressedTensors(fmt::format(R"({{"transform_config":{{"config_groups":{{"R3":{{"type":"{}","head_dim":4,
        "apply":[{{"targets":["a"],"location":"q_attn"}}{}]}}}}}}}})",
                                              type, second));
  };
  EXPECT_TRUE(with("hadamard", R"(,{"targets":["a"],"location":"k_cache"})"));
  EXPECT_EQ(with("hadamard", "").error().code, Code::kUnsupported);
  EXPECT_EQ(with("random-matrix", R"(,{"targets":["a"],"location":"k_cache"})").error().code, Code::kUnsupported);
  EXPECT_EQ(with("givens", "").error().code, Code::kUnsupported);
}

// Groups that quantize what goes in or comes out of float weights.
TEST(CtConfig, ActivationsAloneMayBeQuantized) {
  const auto config = *ParseCompressedTensors(R"({"format":"dense","config_groups":{"g":{"targets":["Linear"],
      "input_activations":{"num_bits":8,"type":"int","strategy":"tensor"}}},"ignore":["lm_head"]})");
  const auto has = [](std::string_view suffix) { return suffix == "weight" || suffix == "input_scale"; };
  const auto method = *config->GetQuantMethod({.name = "a.q_proj", .has = has});
  ASSERT_TRUE(method);
  const float values[4] = {1, 2, 3, 4}, one = 0.5f;
  StoredTensor weight{.view = TensorView(values, DType::kF32, {2, 2})}, scale{.view = TensorView(&one, DType::kF32, {1})};
  const auto part = method->MakeWeight({.name = "a.q_proj", .params = {{"weight", &weight}, {"input_scale", &scale}}});
  ASSERT_TRUE(part) << part.error().ToString();
  EXPECT_TRUE(std::holds_alternative<Dense>(part->weight->body));
  EXPECT_EQ(part->act.grain, ActivationSpec::kTensor);
  EXPECT_EQ(part->act.scale, 0.5f);
  EXPECT_FALSE(*config->GetQuantMethod({.kind = LayerKind::kLmHead, .name = "lm_head", .has = has}));
}

// Saved before it was compressed: the codes are made here, with the scales of the file.
TEST(CtWeights, UncompressedOnesAreQuantizedWhenRead) {
  const auto load = [](const char* status, const char* args, const StoredTensor& weight,
                       std::vector<std::pair<std::string_view, const StoredTensor*>> more) {
    const auto config = *ParseCompressedTensors(fmt::format(
        R"({{"format":"dense","quantization_status":"{}","config_groups":{{"g":{{"targets":["Linear"],"weights":{}}}}}}})", status,
        args));
    more.emplace_back("weight", &weight);
    const auto part = (*config->GetQuantMethod({.name = "a"}))->MakeWeight({.name = "a", .params = std::move(more)});
    EXPECT_TRUE(part) << part.error().ToString();
    std::vector<float> found(4);
    if (part) DecodeRows(*part->weight, {0, 2}, {0, 2}, found.data());
    return found;
  };
  const float values[4] = {0.9f, -0.3f, 2.6f, 100}, scales[2] = {0.25f, 0.5f}, global = 0.5f;
  const int8_t zeros[2] = {1, -2};
  const StoredTensor weight{.view = TensorView(values, DType::kF32, {2, 2})},
      scale{.view = TensorView(scales, DType::kF32, {2, 1})}, zero{.view = TensorView(zeros, DType::kI8, {2, 1})},
      divisor{.view = TensorView(&global, DType::kF32, {1})};
  const char* int4 = R"({"num_bits":4,"strategy":"channel","symmetric":false})";
  EXPECT_EQ(load("frozen", int4, weight, {{"weight_scale", &scale}, {"weight_zero_point", &zero}}),
            (std::vector<float>{1, -0.25f, 2.5f, 4.5f}));
  EXPECT_EQ(load("compressed", int4, weight, {{"weight_scale", &scale}, {"weight_zero_point", &zero}}),
            std::vector<float>(values, values + 4));
  EXPECT_EQ(load("frozen", R"({"num_bits":4,"type":"float","strategy":"tensor_group","group_size":16})", weight,
                 {{"weight_scale", &scale}, {"weight_global_scale", &divisor}}),
            (std::vector<float>{1, -0.25f, 3, 6}));
}

TEST(CtConfig, FormatNamesMeanWhatTheCodesAre) {
  const auto form = [](const char* format, const char* weights) {
    return (*ParseCompressedTensors(
                fmt::format(R"({{"format":"{}","config_groups":{{"g":{{"targets":["Linear"],"weights":{}}}}}}})", format, weights)))
        ->GetQuantMethod({.name = "a"});
  };
  EXPECT_TRUE(form("float-quantized", R"({"num_bits":8,"strategy":"channel"})"));
  EXPECT_TRUE(form("int-quantized", R"({"num_bits":8,"type":"float","strategy":"channel"})"));
  EXPECT_EQ(form("pack-quantized", R"({"num_bits":8,"type":"float","strategy":"channel"})").error().code, Code::kUnsupported);
  // Scales that the tool rounded away when it saved.
  EXPECT_EQ(form("mxfp4-pack-quantized", R"({"num_bits":4,"type":"float","strategy":"tensor_group","group_size":32})").error().code,
            Code::kUnsupported);
  EXPECT_EQ(form("nvfp4-pack-quantized",
                 R"({"num_bits":4,"type":"float","strategy":"group","group_size":16,"scale_dtype":"torch.uint8"})")
                .error()
                .code,
            Code::kUnsupported);
}

}  // namespace
}  // namespace nibble
