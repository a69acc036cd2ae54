// SPDX-License-Identifier: Apache-2.0
// read(write(x)) == x: values, activations, and where the source is compressed-tensors itself, the very bytes of the file.
#include "methods/compressed_tensors/writer.h"

#include <gtest/gtest.h>

#include "formats/packing/bit_stream.h"
#include "methods/checkpoint_test.h"
#include "methods/compressed_tensors/config.h"

namespace nibble {
namespace {

Result<LinearPart> ReadBack(const CtWritten& written, const std::string& name, int64_t n, int64_t k) {
  const Json json = MakeCtConfig({{written.group, {"Linear"}}}, {"lm_head"});
  NIBBLE_TRY(const auto config, FindQuantization("compressed-tensors")->from_config(json, {"test", nullptr}));
  LayerQuery query{.kind = LayerKind::kLinear, .name = name};
  NIBBLE_TRY(const auto method, config->GetQuantMethod(query));
  std::vector<StoredTensor> stored(written.tensors.size());
  BoundParams params{.name = name, .n = n, .k = k};
  for (size_t i = 0; i < stored.size(); ++i) {
    stored[i].view = written.tensors[i].tensor.view;
    params.params.emplace_back(written.tensors[i].suffix, &stored[i]);
  }
  return method->MakeWeight(params);
}

void ExpectRoundTrip(const std::string& folder, const std::vector<std::string>& modules, bool same_bytes) {
  const testing::TestCheckpoint checkpoint = testing::TestCheckpoint::Open(folder);
  ASSERT_TRUE(checkpoint.config);
  for (const std::string& name : modules) {
    SCOPED_TRACE(name);
    const Shape shape = testing::ModuleShape(checkpoint.model, name);
    const auto part = checkpoint.Load(name, shape[0], shape[1]);
    ASSERT_TRUE(part) << part.error().ToString();
    const std::string format =
        checkpoint.files.tensors.Find(name + ".weight") && part->weight->format->name == "int_group" ? "int-quantized" : "";
    const auto written = WriteCtWeight(*part->weight, part->act, format);
    ASSERT_TRUE(written) << written.error().ToString();
    const auto back = ReadBack(*written, name, shape[0], shape[1]);
    ASSERT_TRUE(back) << back.error().ToString();
    EXPECT_EQ(testing::Decoded(*back->weight), testing::Decoded(*part->weight));
    EXPECT_EQ(back->act, part->act);
    EXPECT_EQ(Describe(*back->weight), Describe(*part->weight));
    if (!same_bytes) continue;
    for (const CtTensor& tensor : written->tensors) {
      if (tensor.suffix == "input_scale") continue;  // written as f32
      const StoredTensor* original = checkpoint.files.tensors.Find(name + "." + tensor.suffix);
      ASSERT_TRUE(original) << tensor.suffix;
      EXPECT_EQ(tensor.tensor.view.dtype, original->view.dtype) << tensor.suffix;
      EXPECT_EQ(tensor.tensor.view.shape.ToString(), original->view.shape.ToString()) << tensor.suffix;
      EXPECT_EQ(std::memcmp(tensor.tensor.bytes->data(), original->view.data, static_cast<size_t>(original->size_bytes)), 0)
          << tensor.suffix;
    }
  }
}

class CtWriter : public ::testing::TestWithParam<const char*> {};
TEST_P(CtWriter, WritesTheBytesOfTheTool) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  ExpectRoundTrip(folder, {"model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj"}, true);
}
INSTANTIATE_TEST_SUITE_P(All, CtWriter,
                         ::testing::Values("llmcompressor-w4a16-g128-rtn", "llmcompressor-w4a16-g128-asym-gptq-actorder-weight",
                                           "llmcompressor-w3a16-g64-asym-rtn", "llmcompressor-old-w4a16-g128-gptq-actorder-group",
                                           "llmcompressor-w8a8-dynamic-smoothquant-gptq", "llmcompressor-w8a8-static-tensor-asym",
                                           "llmcompressor-w8a8-dynamic-token-asym", "llmcompressor-w4a8-g128-pack-quantized",
                                           "llmcompressor-w4afp8-g128", "llmcompressor-fp8-static", "llmcompressor-fp8-dynamic",
                                           "llmcompressor-fp8-block"));

class CtConversion : public ::testing::TestWithParam<const char*> {};
TEST_P(CtConversion, KeepsTheValuesOfOtherMethods) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  ExpectRoundTrip(folder, {"model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj"}, false);
}
INSTANTIATE_TEST_SUITE_P(All, CtConversion,
                         ::testing::Values("gptqmodel-4bit-g128-sym", "gptqmodel-4bit-g128-asym-desc", "gptqmodel-3bit-g128",
                                           "gptqmodel-awq-gemm-g128"));

TEST(CtWriterErrors, SayWhatCannotBeStored) {
  const float dense[4] = {1, 2, 3, 4};
  const StoredWeight plain = MakeDense(TensorView(dense, DType::kF32, {2, 2}), {"", "layer"}, nullptr);
  EXPECT_EQ(WriteCtWeight(plain, {}).error().ToString(),
            "unsupported: layer: compressed-tensors stores integers and e4m3 with scales, this is f32");
  const uint32_t words[2] = {0x76543210, 0x0};
  const float zero[1] = {16}, scale[1] = {1};
  StoredWeight weight = plain;
  weight.format = FindFormat("int_group");
  Coded coded;
  coded.codes = DenseStream(TensorView(words, DType::kI32, {2, 1}), 4, StreamAxis::kAlongK);
  coded.scale = {.data = TensorView(scale, DType::kF32, {1, 1}), .block_n = 0};
  coded.zero = Plane{.data = TensorView(zero, DType::kF32, {1, 1}), .block_n = 0};
  weight.body = coded;
  EXPECT_EQ(WriteCtWeight(weight, {}).error().code, Code::kUnsupported);  // 16 is no 4-bit zero point
  coded.zero.reset();
  coded.zero_default = 8;
  weight.body = coded;
  EXPECT_TRUE(WriteCtWeight(weight, {}));
  EXPECT_EQ(WriteCtWeight(weight, {}, "float-quantized").error().code, Code::kUnsupported);
  weight.in.push_back({.kind = Transform::kHadamard});
  EXPECT_EQ(WriteCtWeight(weight, {}).error().code, Code::kUnsupported);
}

}  // namespace
}  // namespace nibble
