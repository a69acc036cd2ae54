// SPDX-License-Identifier: Apache-2.0
#include "methods/adapter.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "io/safetensors_writer.h"

namespace nibble {
namespace {

class AdapterFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/adapter_" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  // lora_A [1, 2] = {1, 2} and lora_B [3, 1] = {1, 10, 100} of each module; `only` keeps one factor.
  void Write(const std::string& config, const std::vector<std::string>& modules, const std::string& only = "") {
    std::ofstream(folder_ + "/adapter_config.json") << config;
    const float a[] = {1, 2}, b[] = {1, 10, 100};
    std::vector<SafetensorsDeclaration> tensors;
    for (const std::string& module : modules) {
      if (only != "B") tensors.push_back({module + ".lora_A.weight", DType::kF32, {1, 2}});
      if (only != "A") tensors.push_back({module + ".lora_B.weight", DType::kF32, {3, 1}});
    }
    auto writer = SafetensorsWriter::CreateFile(folder_ + "/adapter_model.safetensors", tensors);
    ASSERT_TRUE(writer);
    for (const SafetensorsDeclaration& tensor : tensors) {
      const bool is_a = tensor.name.find("lora_A") != std::string::npos;
      ASSERT_TRUE(writer->Write(tensor.name, std::as_bytes(is_a ? std::span<const float>(a) : std::span<const float>(b))));
    }
    ASSERT_TRUE(writer->Commit());
  }

  static LinearPart Part(int64_t n, int64_t k) {
    static const float zeros[64] = {};
    return {.weight = std::make_shared<StoredWeight>(MakeDense(TensorView(zeros, DType::kF32, {n, k}), {}, nullptr))};
  }

  std::string folder_;
};

TEST_F(AdapterFolder, GivesItsModulesALowRankTermScaledByAlpha) {
  Write(R"({"peft_type":"LORA","r":1,"lora_alpha":3,"alpha_pattern":{"b":8}})", {"base_model.model.a", "base_model.model.x.b"});
  const auto adapter = Adapter::Open(folder_);
  ASSERT_TRUE(adapter) << adapter.error().ToString();
  const StoredWeight a = *(*adapter)->Apply("a", Part(3, 2))->weight;
  EXPECT_EQ(a.lora_a.as<float>()[1], 2);
  EXPECT_EQ(a.lora_b.as<float>()[2], 300);
  EXPECT_EQ((*adapter)->Unused(), std::vector<std::string>{"x.b"});
  EXPECT_EQ((*(*adapter)->Apply("x.b", Part(3, 2))->weight).lora_b.as<float>()[0], 8);
  EXPECT_FALSE((*(*adapter)->Apply("other", Part(3, 2))->weight).lora_a);
  EXPECT_TRUE((*adapter)->Unused().empty());
}

TEST_F(AdapterFolder, RefusesWhatDoesNotFit) {
  Write(R"({"r":1})", {"a"});
  const auto adapter = *Adapter::Open(folder_);
  EXPECT_EQ(adapter->Apply("a", Part(3, 4)).error().code, Code::kCorrupt);
  StoredWeight turned = *Part(3, 2).weight;
  turned.in.push_back({.kind = Transform::kHadamard});
  EXPECT_EQ(adapter->Apply("a", {.weight = std::make_shared<StoredWeight>(turned)}).error().code, Code::kUnsupported);
  EXPECT_EQ(Adapter::Open(folder_ + "/none").error().code, Code::kNotFound);
  Write(R"({"r":1})", {"a"}, "A");
  EXPECT_EQ(Adapter::Open(folder_).error().code, Code::kCorrupt);
  for (const char* config : {R"({"peft_type":"IA3"})", R"({"use_dora":true})", R"({"bias":"all"})", R"({"modules_to_save":["x"]})"}) {
    Write(config, {"a"});
    EXPECT_EQ(Adapter::Open(folder_).error().code, Code::kUnsupported) << config;
  }
}

}  // namespace
}  // namespace nibble
