// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "io/json.h"
#include "io/safetensors.h"
#include "support/paths.h"

namespace nibble {
namespace {
using ::testing::HasSubstr;

std::vector<std::byte> Filled(size_t size, int value) { return std::vector<std::byte>(size, static_cast<std::byte>(value)); }

TEST(SafetensorsWriter, WritesWhatTheReaderReads) {
  testing::TempDir dir;
  auto writer = SafetensorsWriter::CreateFolder(dir.path(), {{"b.bytes", DType::kU8, {3}},
                                                             {"a.half", DType::kF16, {2, 2}},
                                                             {"none", DType::kF32, {0, 4}},
                                                             {"scalar \"x\"\n", DType::kI64, {}}});
  ASSERT_TRUE(writer) << writer.error().ToString();
  EXPECT_FALSE(std::filesystem::exists(dir.File("model.safetensors")));
  ASSERT_TRUE(writer->Write("a.half", Filled(5, 1)));
  ASSERT_TRUE(writer->Write("b.bytes", Filled(3, 2)));
  ASSERT_TRUE(writer->Write("a.half", Filled(3, 3)));
  ASSERT_TRUE(writer->Write("scalar \"x\"\n", Filled(8, 4)));
  const auto committed = writer->Commit();
  ASSERT_TRUE(committed) << committed.error().ToString();
  const auto model = OpenSafetensorsFolder(dir.path());
  ASSERT_TRUE(model) << model.error().ToString();
  EXPECT_EQ(model->metadata.at("format"), "pt");
  const StoredTensor* half = model->tensors.Find("a.half");
  ASSERT_NE(half, nullptr);
  EXPECT_EQ(half->shape, Shape({2, 2}));
  EXPECT_EQ(half->view.data[4], std::byte{1});
  EXPECT_EQ(half->view.data[5], std::byte{3});
  ASSERT_EQ(model->tensors.tensors().size(), 4u);
  for (const StoredTensor& tensor : model->tensors.tensors())
    EXPECT_EQ(tensor.file_offset % DTypeBytes(tensor.view.dtype), 0) << tensor.name;
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
}

TEST(SafetensorsWriter, ShardsAreDeterministicAndIndexed) {
  std::string first;
  for (int round = 0; round < 2; ++round) {
    testing::TempDir dir;
    auto writer = SafetensorsWriter::CreateFolder(
        dir.path(), {{"a", DType::kU8, {60}}, {"b", DType::kU8, {50}}, {"c", DType::kU8, {300}}, {"d", DType::kU8, {10}}},
        {.max_shard_bytes = 100});
    ASSERT_TRUE(writer) << writer.error().ToString();
    EXPECT_EQ(writer->paths().size(), 4u);
    const std::vector<std::pair<const char*, size_t>> order = {{"a", 60}, {"b", 50}, {"c", 300}, {"d", 10}};
    for (size_t i = 0; i < 4; ++i) {
      const auto& [name, size] = order[round == 0 ? i : 3 - i];
      ASSERT_TRUE(writer->Write(name, Filled(size, name[0])));
    }
    ASSERT_TRUE(writer->Commit());
    const auto model = OpenSafetensorsFolder(dir.path());
    ASSERT_TRUE(model) << model.error().ToString();
    EXPECT_EQ(model->tensors.total_bytes(), 420);
    EXPECT_EQ(model->tensors.Find("c")->file, dir.File("model-00003-of-00004.safetensors"));
    EXPECT_EQ(model->tensors.Find("c")->view.data[299], std::byte{'c'});
    std::string bytes = ReadTextFile(dir.File("model.safetensors.index.json")).value();
    for (const std::string& path : writer->paths()) bytes += ReadTextFile(path).value();
    if (round == 0) first = bytes;
    EXPECT_EQ(bytes, first);
  }
}

TEST(SafetensorsWriter, RefusesMisuseAndLeavesNothing) {
  testing::TempDir dir;
  const auto create = [&](std::vector<SafetensorsDeclaration> tensors) {
    return SafetensorsWriter::CreateFolder(dir.path(), std::move(tensors));
  };
  EXPECT_THAT(create({{"a", DType::kU8, {1}}, {"a", DType::kU8, {1}}}).error().message, HasSubstr("twice"));
  EXPECT_THAT(create({{"a", DType::kE2M1, {1}}}).error().message, HasSubstr("pack it"));
  EXPECT_THAT(create({{"a", DType::kF32, {int64_t{1} << 40, int64_t{1} << 40}}}).error().message, HasSubstr("not possible"));
  EXPECT_THAT(create({{"\xff", DType::kU8, {1}}}).error().message, HasSubstr("UTF-8"));
  EXPECT_EQ(SafetensorsWriter::CreateFile(dir.File("no/such"), {}).error().code, Code::kNotFound);
  {
    auto writer = create({{"a", DType::kU8, {4}}});
    ASSERT_TRUE(writer);
    EXPECT_THAT(writer->Write("b", Filled(1, 0)).error().message, HasSubstr("not declared"));
    EXPECT_THAT(writer->Write("a", Filled(5, 0)).error().message, HasSubstr("has 4 bytes, 5 were given"));
    ASSERT_TRUE(writer->Write("a", Filled(3, 0)));
    EXPECT_THAT(writer->Commit().error().message, HasSubstr("got 3 of its 4 bytes"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace nibble
