// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "io/json.h"
#include "support/paths.h"

namespace nibble {
namespace {
using ::testing::HasSubstr;

std::string WithLength(uint64_t length, const std::string& rest) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + rest;
}
std::string File(const std::string& header, size_t data_bytes) {
  return WithLength(header.size(), header + std::string(data_bytes, '\0'));
}
Result<SafetensorsHeader> ParseSafetensorsText(const std::string& file) {
  return ParseSafetensorsHeader(std::as_bytes(std::span(file)), static_cast<int64_t>(file.size()), "f");
}

TEST(Safetensors, ReadsTensorsInFileOrderWithMetadata) {
  const auto header =
      ParseSafetensorsText(File(R"({"b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},"__metadata__":{"format":"pt"},)"
                                R"("a":{"dtype":"I32","shape":[],"data_offsets":[0,4],"extra":{"x":[1,{"y":-2.5}]}}}  )",
                                16));
  ASSERT_TRUE(header) << header.error().ToString();
  ASSERT_EQ(header->entries.size(), 2u);
  EXPECT_EQ(header->entries[0].name, "a");
  EXPECT_EQ(header->entries[0].dtype, DType::kI32);
  EXPECT_EQ(header->entries[0].shape, Shape());
  EXPECT_EQ(header->entries[1].shape, Shape({2, 3}));
  EXPECT_EQ(header->entries[1].end - header->entries[1].begin, 12);
  EXPECT_EQ(header->metadata.at("format"), "pt");
}

TEST(Safetensors, FloatsOfAmdOpenAndSayWhyTheyCannotBeRead) {
  const std::string path = ::testing::TempDir() + "/fnuz.safetensors";
  std::ofstream(path, std::ios::binary) << File(R"({"w":{"dtype":"F8_E4M3FNUZ","shape":[2,3],"data_offsets":[0,6]}})", 6);
  const auto files = OpenSafetensors(path);
  ASSERT_TRUE(files) << files.error().ToString();
  EXPECT_THAT(files->tensors.Find("w")->unsupported, HasSubstr("save the model with float8_e4m3fn"));
}

TEST(Safetensors, KnowsEveryDtype) {
  for (const auto& [name, bytes] : std::vector<std::pair<std::string, int>>{{"BOOL", 1},
                                                                            {"U8", 1},
                                                                            {"I8", 1},
                                                                            {"I16", 2},
                                                                            {"U16", 2},
                                                                            {"F16", 2},
                                                                            {"BF16", 2},
                                                                            {"I32", 4},
                                                                            {"U32", 4},
                                                                            {"F32", 4},
                                                                            {"F64", 8},
                                                                            {"I64", 8},
                                                                            {"U64", 8},
                                                                            {"F8_E4M3", 1},
                                                                            {"F8_E5M2", 1},
                                                                            {"F8_E4M3FNUZ", 1},
                                                                            {"F8_E8M0", 1}}) {
    const auto header = ParseSafetensorsText(
        File(fmt::format(R"({{"a":{{"dtype":"{}","shape":[3],"data_offsets":[0,{}]}}}})", name, 3 * bytes), 3u * bytes));
    ASSERT_TRUE(header) << header.error().ToString();
    EXPECT_EQ(DTypeBytes(header->entries[0].dtype), bytes);
  }
  const auto f4 = ParseSafetensorsText(File(R"({"a":{"dtype":"F4","shape":[2,6],"data_offsets":[0,6]}})", 6));
  ASSERT_TRUE(f4) << f4.error().ToString();
  EXPECT_EQ(f4->entries[0].shape, Shape({2, 3}));
  EXPECT_EQ(f4->entries[0].dtype, DType::kU8);
  EXPECT_EQ(f4->entries[0].stored_type, "F4");
  const auto f6 = ParseSafetensorsText(File(R"({"a":{"dtype":"F6_E2M3","shape":[2,4],"data_offsets":[0,6]}})", 6));
  ASSERT_TRUE(f6);
  EXPECT_EQ(f6->entries[0].shape, Shape({2, 3}));
}

TEST(Safetensors, AcceptsEmptyTensorsAndNoTensors) {
  EXPECT_TRUE(ParseSafetensorsText(File("{}", 0)));
  EXPECT_TRUE(ParseSafetensorsText(
      File(R"({"a":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1)));
}

struct BadSafetensors {
  const char* name;
  std::string bytes;
  Code code;
  const char* message;
};
std::string One(const std::string& body, size_t data_bytes = 4) { return File(R"({"a":{)" + body + "}}", data_bytes); }
std::vector<BadSafetensors> BadSafetensorsFiles() {
  const std::string a = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  std::string deep = R"({"a":{"x":)";
  deep += std::string(100000, '[');
  return {
      {"empty", "", Code::kCorrupt, "too short"},
      {"seven_bytes", "1234567", Code::kCorrupt, "too short"},
      {"header_too_large", WithLength(100'000'001, "{}"), Code::kCorrupt, "the limit is 100000000"},
      {"header_length_wraps", WithLength(~uint64_t{0}, "{}"), Code::kCorrupt, "the limit"},
      {"header_beyond_end", WithLength(50, "{}"), Code::kCorrupt, "has 2 left"},
      {"header_is_list", File("[]", 0), Code::kCorrupt, "JSON object"},
      {"header_not_json", File("{\"a\":", 0), Code::kCorrupt, "header byte"},
      {"header_not_utf8", File("{\"\xff\":{}}", 0), Code::kCorrupt, "UTF-8"},
      {"header_trailing_text", File("{} x", 0), Code::kCorrupt, "header byte"},
      {"deep_nesting", File(deep, 0), Code::kCorrupt, "nested deeper"},
      {"git_lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:0", Code::kCorrupt, "git-lfs"},
      {"web_page", "<!DOCTYPE html><html>", Code::kCorrupt, "web page"},
      {"tensor_is_number", File(R"({"a":5})", 0), Code::kCorrupt, "wanted an object"},
      {"tensor_is_list", File(R"({"a":[1]})", 0), Code::kCorrupt, "wanted an object"},
      {"metadata_is_nested", File(R"({"__metadata__":{"a":{}}})", 0), Code::kCorrupt, "wanted a string"},
      {"metadata_is_number", File(R"({"__metadata__":{"a":1}})", 0), Code::kCorrupt, "wanted a string"},
      {"no_dtype", One(R"("shape":[4],"data_offsets":[0,4])"), Code::kCorrupt, "dtype is missing"},
      {"no_shape", One(R"("dtype":"U8","data_offsets":[0,4])"), Code::kCorrupt, "shape is missing"},
      {"no_offsets", One(R"("dtype":"U8","shape":[4])"), Code::kCorrupt, "data_offsets is missing"},
      {"three_offsets", One(R"("dtype":"U8","shape":[4],"data_offsets":[0,4,4])"), Code::kCorrupt, "wanted 2"},
      {"backwards", One(R"("dtype":"U8","shape":[4],"data_offsets":[4,0])"), Code::kCorrupt, "backwards"},
      {"negative_offset", One(R"("dtype":"U8","shape":[4],"data_offsets":[-4,0])"), Code::kCorrupt, "negative"},
      {"huge_offset", One(R"("dtype":"U8","shape":[4],"data_offsets":[0,18446744073709551615])"), Code::kCorrupt, "beyond 2^63"},
      {"float_dim", One(R"("dtype":"U8","shape":[4.0],"data_offsets":[0,4])"), Code::kCorrupt, "fraction"},
      {"string_dim", One(R"("dtype":"U8","shape":["4"],"data_offsets":[0,4])"), Code::kCorrupt, "a string"},
      {"shape_nested", One(R"("dtype":"U8","shape":[[4]],"data_offsets":[0,4])"), Code::kCorrupt, "a list"},
      {"shape_is_number", One(R"("dtype":"U8","shape":4,"data_offsets":[0,4])"), Code::kCorrupt, "a number"},
      {"shape_twice", One(R"("dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4])"), Code::kCorrupt, "twice"},
      {"cut_short", One(R"("dtype":"U8","shape":[5],"data_offsets":[0,5])"), Code::kCorrupt, "cut short"},
      {"unknown_dtype", One(R"("dtype":"C64","shape":[4],"data_offsets":[0,4])"), Code::kUnsupported,
       "tensor \"a\": dtype \"C64\""},
      {"lower_case_dtype", One(R"("dtype":"u8","shape":[4],"data_offsets":[0,4])"), Code::kUnsupported, "dtype"},
      {"rank_9", One(R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,4])"), Code::kUnsupported, "9 dimensions"},
      {"rank_65",
       One(R"("dtype":"U8","shape":[1)" +
           [] {
             std::string s;
             for (int i = 0; i < 64; ++i) s += ",1";
             return s;
           }() +
           R"(],"data_offsets":[0,4])"),
       Code::kCorrupt, "64"},
      {"shape_overflow", One(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,4])"), Code::kCorrupt, "2^63"},
      {"shape_overflow_times_zero", One(R"("dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,4])"), Code::kCorrupt,
       "2^63"},
      {"shape_disagrees", One(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), Code::kCorrupt,
       "needs 8 bytes, data_offsets give 4"},
      {"f4_half_byte", One(R"("dtype":"F4","shape":[7],"data_offsets":[0,4])"), Code::kCorrupt, "whole bytes"},
      {"f4_odd_rows", One(R"("dtype":"F4","shape":[2,3],"data_offsets":[0,3])", 3), Code::kUnsupported, "inside a byte"},
      {"gap_at_front", One(R"("dtype":"U8","shape":[3],"data_offsets":[1,4])"), Code::kCorrupt, "belong to no tensor"},
      {"tail", One(R"("dtype":"U8","shape":[4],"data_offsets":[0,4])", 5), Code::kCorrupt, "after the last tensor"},
      {"gap", File("{" + a + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}})", 4), Code::kCorrupt, "belong to no tensor"},
      {"overlap", File("{" + a + R"(,"b":{"dtype":"U8","shape":[3],"data_offsets":[1,4]}})", 4), Code::kCorrupt, "overlaps \"a\""},
  };
}

TEST(Safetensors, RejectsEveryBadFile) {
  for (const BadSafetensors& bad : BadSafetensorsFiles()) {
    SCOPED_TRACE(bad.name);
    const auto header = ParseSafetensorsText(bad.bytes);
    ASSERT_FALSE(header);
    EXPECT_EQ(header.error().code, bad.code) << header.error().ToString();
    EXPECT_THAT(header.error().message, HasSubstr(bad.message));
    EXPECT_THAT(header.error().message, HasSubstr("f: "));
  }
}

TEST(Safetensors, RejectsDuplicateNames) {
  testing::TempDir dir;
  std::ofstream(dir.File("model.safetensors")) << File(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                                                       R"("a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                                                       4);
  EXPECT_THAT(OpenSafetensorsFolder(dir.path()).error().message, HasSubstr("tensor \"a\" is also in"));
}

TEST(Safetensors, ReadsARealFile) {
  NIBBLE_NEED_SHARED(folder, "data/weights/tales-1m");
  const auto model = OpenSafetensorsFolder(folder);
  ASSERT_TRUE(model) << model.error().ToString();
  const StoredTensor* tensor = model->tensors.Find("model.layers.1.mlp.up_proj.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->shape, Shape({512, 256}));
  EXPECT_EQ(tensor->view.dtype, DType::kBF16);
  EXPECT_EQ(model->tensors.Find("model.layers.9.mlp.up_proj.weight"), nullptr);
}

class SafetensorsFolder : public ::testing::Test {
 protected:
  void Shard(const std::string& name, const std::string& tensor) {
    std::ofstream(dir_.File(name)) << File(fmt::format(R"({{"{}":{{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}}})", tensor), 2);
  }
  void Index(const std::string& map) {
    std::ofstream(dir_.File("model.safetensors.index.json")) << R"({"metadata":{"total_size":4},"weight_map":)" << map << "}";
  }
  std::string Fails(Code code) {
    const auto model = OpenSafetensorsFolder(dir_.path());
    if (model) return "it was accepted";
    EXPECT_EQ(model.error().code, code) << model.error().ToString();
    return model.error().message;
  }
  testing::TempDir dir_;
};

TEST_F(SafetensorsFolder, JoinsShards) {
  Shard("s2", "b");
  Shard("s1", "a");
  Index(R"({"a":"s1","b":"s2"})");
  const auto model = OpenSafetensorsFolder(dir_.path());
  ASSERT_TRUE(model) << model.error().ToString();
  EXPECT_EQ(model->tensors.tensors().size(), 2u);
  EXPECT_EQ(model->tensors.total_bytes(), 4);
  EXPECT_EQ(model->tensors.Find("b")->file, dir_.File("s2"));
}
TEST_F(SafetensorsFolder, AcceptsTensorsThatTheIndexDoesNotName) {
  Shard("s1", "a");
  Shard("s2", "b");
  std::ofstream(dir_.File("s1")) << File(
      R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"x":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})", 3);
  Index(R"({"a":"s1","b":"s2"})");
  const auto model = OpenSafetensorsFolder(dir_.path());
  ASSERT_TRUE(model) << model.error().ToString();
  EXPECT_NE(model->tensors.Find("x"), nullptr);
}
TEST_F(SafetensorsFolder, NamesAMissingShard) {
  Shard("s1", "a");
  Index(R"({"a":"s1","b":"s2"})");
  const std::string message = Fails(Code::kNotFound);
  EXPECT_THAT(message, HasSubstr("first s2"));
  EXPECT_THAT(message, HasSubstr("hf download"));
}
TEST_F(SafetensorsFolder, NamesATensorThatItsShardLacks) {
  Shard("s1", "a");
  Shard("s2", "c");
  Index(R"({"a":"s1","b":"s2"})");
  EXPECT_THAT(Fails(Code::kCorrupt), HasSubstr("\"b\" should be in s2, but no shard has it"));
  Index(R"({"a":"s2","c":"s1"})");
  EXPECT_THAT(Fails(Code::kCorrupt), HasSubstr("\"a\" should be in s2, but is in s1"));
}
TEST_F(SafetensorsFolder, RejectsATensorInTwoShards) {
  Shard("s1", "a");
  Shard("s2", "a");
  Index(R"({"a":"s1","b":"s2"})");
  EXPECT_THAT(Fails(Code::kCorrupt), HasSubstr("also in"));
}
TEST_F(SafetensorsFolder, RejectsShardNamesWithPaths) {
  for (const char* name : {"../s1", "/etc/passwd", "x/y", "", ".."}) {
    Index(fmt::format(R"({{"a":"{}"}})", name));
    EXPECT_THAT(Fails(Code::kCorrupt), HasSubstr("plain file name")) << name;
  }
}
TEST_F(SafetensorsFolder, TakesTheOnlyFileButNeverGuesses) {
  EXPECT_THAT(Fails(Code::kNotFound), HasSubstr("no *.safetensors"));
  std::ofstream(dir_.File("pytorch_model.bin"));
  EXPECT_THAT(Fails(Code::kCorrupt), HasSubstr("pytorch_model.bin: the file is empty"));
  Shard("x.safetensors", "a");
  EXPECT_TRUE(OpenSafetensorsFolder(dir_.path()));
  Shard("y.safetensors", "b");
  EXPECT_THAT(Fails(Code::kUsage), HasSubstr("2 *.safetensors"));
  EXPECT_EQ(OpenSafetensorsFolder(dir_.File("none")).error().code, Code::kNotFound);
}

// 100 GB in 20 shards, 60,000 tensors: only headers may be read, and nothing may be quadratic.
TEST_F(SafetensorsFolder, OpensHundredGigabytesAtOnce) {
  constexpr int kShards = 20, kTensors = 3000;
  constexpr int64_t kBytes = 100'000'000'000 / kShards / kTensors;
  std::string map = "{";
  for (int s = 0; s < kShards; ++s) {
    const auto name = fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, kShards);
    std::string header = "{";
    for (int t = 0; t < kTensors; ++t) {
      header += fmt::format(R"({}"model.layers.{}.mlp.experts.{}.w":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})",
                            t ? "," : "", s, t, kBytes, t * kBytes, (t + 1) * kBytes);
      map += fmt::format(R"({}"model.layers.{}.mlp.experts.{}.w":"{}")", map.size() > 1 ? "," : "", s, t, name);
    }
    header += "}";
    const std::string head = WithLength(header.size(), header);
    std::ofstream(dir_.File(name)) << head;
    if (truncate(dir_.File(name).c_str(), static_cast<off_t>(head.size()) + kTensors * kBytes) != 0)
      GTEST_SKIP() << "the temporary folder's file system refuses a sparse file of " << kTensors * kBytes << " bytes";
  }
  Index(map + "}");
  const auto start = std::chrono::steady_clock::now();
  const auto model = OpenSafetensorsFolder(dir_.path());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(model) << model.error().ToString();
  EXPECT_EQ(model->tensors.tensors().size(), size_t{kShards * kTensors});
  RecordProperty("milliseconds", static_cast<int>(seconds.count() * 1000));
  EXPECT_LT(seconds.count(), 5.0);  // generous for sanitizer builds; about 0.1 s in a release build
}

}  // namespace
}  // namespace nibble
