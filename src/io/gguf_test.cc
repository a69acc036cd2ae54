// SPDX-License-Identifier: Apache-2.0
#include "io/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "io/gguf_writer.h"
#include "support/paths.h"

namespace nibble {
namespace {
using ::testing::HasSubstr;

// A GGUF file put together field by field, so that each field can be made wrong.
class Builder {
 public:
  template <typename T>
  Builder& Put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Builder& Str(const std::string& text) {
    Put(static_cast<uint64_t>(text.size()));
    bytes_ += text;
    return *this;
  }
  Builder& Raw(const std::string& text) {
    bytes_ += text;
    return *this;
  }
  Builder& Head(uint64_t tensors, uint64_t keys, uint32_t version = 3) { return Raw("GGUF").Put(version).Put(tensors).Put(keys); }
  Builder& Key(const std::string& key, uint32_t type) { return Str(key).Put(type); }
  Builder& U32Key(const std::string& key, uint32_t value) { return Key(key, 4).Put(value); }
  Builder& Info(const std::string& name, std::vector<uint64_t> ne, uint32_t type, uint64_t offset) {
    Str(name).Put(static_cast<uint32_t>(ne.size()));
    for (const uint64_t n : ne) Put(n);
    return Put(type).Put(offset);
  }
  Builder& Pad(size_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment, '\0');
    return *this;
  }
  Builder& Data(size_t size) { return Raw(std::string(size, '\x11')); }
  operator std::string() const { return bytes_; }

 private:
  std::string bytes_;
};

Result<GgufHeader> ParseGgufText(const std::string& file) {
  return ParseGgufHeader(std::as_bytes(std::span(file)), static_cast<int64_t>(file.size()), "f");
}

std::string Good() {
  return Builder()
      .Head(2, 1)
      .U32Key("x", 7)
      .Info("a", {32, 2}, 2, 0)
      .Info("b", {3}, 0, 64)
      .Pad(32)
      .Data(36)
      .Pad(32)
      .Data(12)
      .Pad(32);
}

TEST(Gguf, ParsesAHandmadeFile) {
  const std::string file = Good();  // the metadata points into it
  const auto header = ParseGgufText(file);
  ASSERT_TRUE(header) << header.error().ToString();
  EXPECT_EQ(header->tensors[0].shape, Shape({2, 32}));
  EXPECT_EQ(header->tensors[1].end - header->tensors[1].begin, 12);
  EXPECT_EQ(header->metadata.Int("x").value(), 7);
}

TEST(Gguf, AcceptsWhatIsOddButRight) {
  EXPECT_TRUE(ParseGgufText(Builder().Head(0, 0))) << "nothing inside";
  EXPECT_TRUE(ParseGgufText(Builder().Head(0, 0).Pad(32))) << "padding without tensors";
  EXPECT_TRUE(ParseGgufText(Builder().Head(1, 0).Info("a", {3}, 0, 0).Pad(32).Data(12))) << "no padding at the end";
  EXPECT_TRUE(ParseGgufText(Builder().Head(1, 0).Info("a", {}, 0, 0).Pad(32).Data(4))) << "rank 0";
  EXPECT_TRUE(ParseGgufText(Builder().Head(2, 0).Info("a", {0, 5}, 0, 0).Info("b", {1}, 0, 0).Pad(32).Data(4))) << "empty tensor";
  EXPECT_TRUE(ParseGgufText(Builder().Head(0, 1).Key("a", 9).Put(uint32_t{8}).Put(uint64_t{0}))) << "empty array";
  EXPECT_TRUE(ParseGgufText(Builder().Head(1, 1).U32Key("general.alignment", 1).Info("a", {1}, 24, 0).Data(1))) << "alignment 1";
}

struct BadGguf {
  const char* name;
  std::string bytes;
  Code code;
  const char* message;
};
std::vector<BadGguf> BadGgufs() {
  const auto key = [](uint32_t type) { return Builder().Head(0, 1).Key("k", type); };
  const auto array = [](uint32_t type, uint64_t count) { return Builder().Head(0, 1).Key("k", 9).Put(type).Put(count); };
  const auto tensor = [](std::vector<uint64_t> ne, uint32_t type, uint64_t offset = 0) {
    return Builder().Head(1, 0).Info("t", std::move(ne), type, offset).Pad(32);
  };
  const auto aligned = [](uint32_t alignment) {
    return Builder().Head(1, 1).U32Key("general.alignment", alignment).Info("t", {1}, 0, 0).Pad(32).Data(4);
  };
  const uint64_t top = uint64_t{1} << 63, big = uint64_t{1} << 32;
  return {
      {"empty", "", Code::kCorrupt, "too short"},
      {"bad_magic", "GGUX" + std::string(20, '\0'), Code::kCorrupt, "another kind of file"},
      {"old_ggml", "tjgg" + std::string(20, '\0'), Code::kCorrupt, "before GGUF"},
      {"git_lfs", "version https://git-lfs.github.com/spec/v1", Code::kCorrupt, "git lfs pull"},
      {"only_magic", "GGUF", Code::kCorrupt, "ends inside the header"},
      {"version_0", Builder().Head(0, 0, 0), Code::kUnsupported, "big-endian"},
      {"version_1", Builder().Head(0, 0, 1), Code::kUnsupported, "version 1"},
      {"version_4", Builder().Head(0, 0, 4), Code::kUnsupported, "version 4"},
      {"big_endian", Builder().Head(0, 0, 0x03000000), Code::kUnsupported, "gguf_convert_endian"},
      {"counts_missing", Builder().Raw("GGUF").Put(uint32_t{3}).Put(uint64_t{0}), Code::kCorrupt, "ends inside the header"},
      // CVE-2024-21802 and relatives: counts of the header trusted before they are compared with the file.
      {"tensor_count_huge", Builder().Head(~uint64_t{0}, 0).Data(100), Code::kCorrupt, "cannot fit"},
      {"tensor_count_wraps_size", Builder().Head(uint64_t{1} << 60, 0).Data(100), Code::kCorrupt, "cannot fit"},
      {"key_count_huge", Builder().Head(0, ~uint64_t{0}).Data(100), Code::kCorrupt, "cannot fit"},
      {"key_count_one_too_many", Builder().Head(0, 2).U32Key("x", 1).Data(14), Code::kCorrupt, "string of"},
      // CVE-2024-25664 .. 25668: string and array lengths.
      {"key_length_huge", Builder().Head(0, 1).Put(~uint64_t{0}).Data(30), Code::kCorrupt, "the limit"},
      {"key_length_beyond_file", Builder().Head(0, 1).Put(uint64_t{1000}).Data(30), Code::kCorrupt,
       "string of 1000 bytes, the file has 30 left"},
      {"key_empty", Builder().Head(0, 1).Key("", 4).Put(uint32_t{1}), Code::kCorrupt, "key 0 is empty"},
      {"key_not_text", Builder().Head(0, 1).U32Key("a\x1b[31m", 1), Code::kCorrupt, "printable"},
      {"key_not_utf8", Builder().Head(0, 1).U32Key("a\xc0\xaf", 1), Code::kCorrupt, "printable"},
      {"key_twice", Builder().Head(0, 2).U32Key("k", 1).U32Key("k", 2), Code::kCorrupt, "\"k\" occurs twice"},
      {"value_type_13", key(13).Put(uint64_t{0}), Code::kCorrupt, "value type 13"},
      {"value_type_huge", key(~0u).Put(uint64_t{0}), Code::kCorrupt, "value type"},
      {"value_cut", key(10).Put(uint32_t{0}), Code::kCorrupt, "ends inside key \"k\""},
      {"string_length_huge", key(8).Put(top), Code::kCorrupt, "the limit"},
      {"string_one_gib_in_a_small_file", key(8).Put(uint64_t{1} << 30), Code::kCorrupt, "the file has 0 left"},
      {"array_type_13", array(13, 0), Code::kCorrupt, "array of type 13"},
      {"array_of_arrays", array(9, 1).Put(uint32_t{4}).Put(uint64_t{0}), Code::kUnsupported, "arrays of arrays"},
      {"array_count_huge", array(4, ~uint64_t{0}), Code::kCorrupt, "the limit"},
      {"array_count_wraps", array(10, uint64_t{1} << 61), Code::kCorrupt, "the limit"},
      {"array_one_gib_elements", array(10, uint64_t{1} << 30).Data(100), Code::kCorrupt, "the file has 100 bytes left"},
      {"string_array_huge", array(8, uint64_t{1} << 29).Data(100), Code::kCorrupt, "the file has 100 bytes left"},
      {"string_array_cut", array(8, 2).Str("a").Put(uint64_t{5}).Raw("abc"), Code::kCorrupt, "string of 5 bytes"},
      // Alignment: wrong type, zero, not a power of two, larger than the file.
      {"alignment_type", Builder().Head(0, 1).Key("general.alignment", 10).Put(uint64_t{32}), Code::kCorrupt,
       "found u64, wanted u32"},
      {"alignment_0", aligned(0), Code::kCorrupt, "not a power of two"},
      {"alignment_33", aligned(33), Code::kCorrupt, "not a power of two"},
      {"alignment_huge", aligned(1u << 31), Code::kCorrupt, "beyond the end"},
      {"name_empty", Builder().Head(1, 0).Info("", {1}, 0, 0).Pad(32).Data(4), Code::kCorrupt, "name of tensor 0"},
      {"name_64", Builder().Head(1, 0).Info(std::string(64, 'n'), {1}, 0, 0).Pad(32).Data(4), Code::kCorrupt, "name of tensor 0"},
      {"name_twice", Builder().Head(2, 0).Info("a", {1}, 0, 0).Info("a", {1}, 0, 32).Pad(32).Data(36), Code::kCorrupt,
       "\"a\" occurs twice"},
      {"rank_5", tensor({1, 1, 1, 1, 1}, 0).Data(4), Code::kCorrupt, "5 dimensions"},
      {"rank_huge", Builder().Head(1, 0).Str("t").Put(~0u).Data(100), Code::kCorrupt, "dimensions"},
      {"dimension_negative", tensor({~uint64_t{0}}, 0).Data(4), Code::kCorrupt, "beyond 2^63"},
      {"type_unknown", tensor({32}, 99).Data(32), Code::kUnsupported, "tensor \"t\": tensor type 99"},
      {"type_retired", tensor({32}, 4).Data(32), Code::kUnsupported, "tensor type 4"},
      {"type_huge", tensor({32}, ~0u).Data(32), Code::kUnsupported, "tensor type 4294967295"},
      {"row_no_multiple", tensor({33}, 2).Data(36), Code::kCorrupt, "Q4_0 needs a multiple of 32"},
      // CVE-2025-53630, CVE-2026-27940: products and sums that wrap.
      {"elements_overflow", tensor({big, big}, 0).Data(64), Code::kCorrupt, "2^63"},
      {"elements_overflow_times_zero", tensor({big, big, big, 0}, 0).Data(64), Code::kCorrupt, "2^63"},
      {"bytes_overflow", tensor({uint64_t{1} << 62}, 0).Data(64), Code::kCorrupt, "2^63"},
      {"sum_overflow",
       Builder()
           .Head(2, 0)
           .Info("a", {uint64_t{1} << 62}, 24, 0)
           .Info("b", {uint64_t{1} << 62}, 24, uint64_t{1} << 62)
           .Pad(32)
           .Data(64),
       Code::kCorrupt, "beyond the end"},
      {"padding_overflow", Builder().Head(2, 0).Info("a", {top - 1}, 24, 0).Info("b", {1}, 24, top).Pad(32).Data(64),
       Code::kCorrupt, "beyond the end"},
      // CVE-2026-7482: a tensor range beyond the file, read and leaked.
      {"beyond_end", tensor({1000}, 0).Data(100), Code::kCorrupt, "beyond the end"},
      {"data_missing", Builder().Head(1, 0).Info("t", {1}, 0, 0), Code::kCorrupt, "beyond the end"},
      {"offset_gap", tensor({1}, 0, 32).Data(64), Code::kCorrupt, "offset 32"},
      {"offset_huge", tensor({1}, 0, ~uint64_t{0} - 31).Data(64), Code::kCorrupt, "offset"},
      {"offset_overlap", Builder().Head(2, 0).Info("a", {64}, 0, 0).Info("b", {64}, 0, 32).Pad(32).Data(512), Code::kCorrupt,
       "offset 32"},
      {"offset_swapped", Builder().Head(2, 0).Info("a", {8}, 0, 32).Info("b", {8}, 0, 0).Pad(32).Data(64), Code::kCorrupt,
       "offset 32"},
      {"tail", tensor({1}, 0).Data(33), Code::kCorrupt, "belong to no tensor"},
      {"tail_without_tensors", Builder().Head(0, 0).Pad(32).Data(1), Code::kCorrupt, "belong to no tensor"},
  };
}

TEST(Gguf, RejectsEveryBadFile) {
  for (const BadGguf& bad : BadGgufs()) {
    SCOPED_TRACE(bad.name);
    const auto header = ParseGgufText(bad.bytes);
    ASSERT_FALSE(header);
    EXPECT_EQ(header.error().code, bad.code) << header.error().ToString();
    EXPECT_THAT(header.error().message, HasSubstr(bad.message));
    EXPECT_THAT(header.error().message, HasSubstr("f: "));
  }
}

TEST(Gguf, EveryPrefixOfAGoodFileIsRejectedOrWhole) {
  const std::string good = Good();
  for (size_t size = 0; size + 20 < good.size(); ++size) EXPECT_FALSE(ParseGgufText(good.substr(0, size))) << size;
  EXPECT_TRUE(ParseGgufText(good.substr(0, good.size() - 20))) << "only padding is missing";
}

TEST(Gguf, TypeTableAgreesWithTheFormats) {
  int known = 0;
  for (const FormatId format : Formats()) {
    if (format->ggml_type < 0) continue;
    const GgufTensorType* type = FindGgufTensorType(format->ggml_type);
    ASSERT_NE(type, nullptr) << format->name;
    EXPECT_EQ(type->block_elems, format->block_elems) << format->name;
    EXPECT_EQ(type->block_bytes, format->block_bytes) << format->name;
    EXPECT_EQ(type->row_meta_bytes, format->row_meta_bytes) << format->name;
    ++known;
  }
  EXPECT_GE(known, 15);
  for (const int64_t id : {4, 5, 31, 32, 33, 36, 37, 38, 43, 1000, -1}) EXPECT_EQ(FindGgufTensorType(id), nullptr) << id;
}

void ExpectTiny(const GgufFile& file) {
  const GgufMetadata& metadata = file.metadata;
  EXPECT_EQ(metadata.String("general.architecture").value(), "llama");
  EXPECT_EQ(metadata.Int("t.u8").value(), 200);
  EXPECT_EQ(metadata.Int("t.i8").value(), -5);
  EXPECT_EQ(metadata.Int("t.u32").value(), 4000000000);
  EXPECT_EQ(metadata.Int("t.i64").value(), -4611686018427387904);
  EXPECT_FALSE(metadata.Int("t.u64"));  // 2^63 + 1
  EXPECT_EQ(metadata.Number("t.f64").value(), -0.1);
  EXPECT_EQ(metadata.Bool("t.bool").value(), true);
  EXPECT_EQ(metadata.String("t.str").value(), "h\u00e9llo \u2581");
  EXPECT_THAT(metadata.Strings("t.arr_str").value(), ::testing::ElementsAre("a", "", "\u4e2d"));
  EXPECT_THAT(metadata.Floats("t.arr_f32").value(), ::testing::ElementsAre(0.5f, -1.25f));
  EXPECT_THAT(metadata.Ints("t.arr_bool").value(), ::testing::ElementsAre(1, 0, 1));
  const StoredTensor* q4k = file.tensors.Find("blk.0.c.weight");
  ASSERT_NE(q4k, nullptr);
  EXPECT_EQ(q4k->ggml, FindFormat("q4_k"));
  EXPECT_EQ(q4k->shape, Shape({2, 512}));
  EXPECT_EQ(q4k->view.shape, Shape({2, 288}));
  EXPECT_EQ(file.tensors.Find("blk.0.e.weight")->view.shape, Shape({2, 2, 34}));
  const StoredTensor* norm = file.tensors.Find("blk.0.d_norm.weight");
  EXPECT_EQ(norm->view.dtype, DType::kF32);
  EXPECT_EQ(norm->shape, Shape({3}));
  std::vector<float> row(512), wanted(512);
  q4k->ggml->decode(q4k->view.data, 0, 2, row.data());
  const auto expected = MappedFile::Open(testing::Repo("tests/data/ggml-vectors/Q4_K.deq")).value();
  EXPECT_EQ(std::memcmp(row.data(), expected->bytes().data(), 2048), 0);
}

TEST(Gguf, ReadsVersionsAlignmentsAndSplits) {
  for (const char* name :
       {"tiny-v3-le", "tiny-v2-le", "tiny-v3-le-align64", "tiny-split-00001-of-00002", "tiny-split-00002-of-00002"}) {
    SCOPED_TRACE(name);
    const auto file = OpenGguf(testing::Repo(std::string("tests/data/gguf/") + name + ".gguf"));
    ASSERT_TRUE(file) << file.error().ToString();
    ExpectTiny(*file);
  }
  EXPECT_EQ(OpenGguf(testing::Repo("tests/data/gguf/tiny-v3-be.gguf")).error().code, Code::kUnsupported);
  EXPECT_TRUE(OpenGguf(testing::Repo("tests/data/gguf/vocab-only.gguf")));
}

TEST(Gguf, GettersNameKeyFoundAndWanted) {
  const auto file = OpenGguf(testing::Repo("tests/data/gguf/tiny-v3-le.gguf")).value();
  EXPECT_THAT(file.metadata.Int("t.str").error().message, HasSubstr("key \"t.str\": found string, wanted an integer"));
  EXPECT_THAT(file.metadata.Int("t.arr_f32").error().message, HasSubstr("found an array of 2 f32"));
  EXPECT_THAT(file.metadata.Strings("t.arr_f32").error().message, HasSubstr("wanted an array of strings"));
  EXPECT_EQ(file.metadata.Int("none").error().code, Code::kNotFound);
  EXPECT_EQ(file.metadata.Int("none", 3).value(), 3);
  EXPECT_TRUE(file.metadata.Ints("none").value().empty());
  EXPECT_THAT(file.metadata.Ints("t.u16").value(), ::testing::ElementsAre(65000));
}

TEST(Gguf, NamesTheMissingShardAndWrongOnes) {
  testing::TempDir dir;
  const auto copy = [&](const std::string& from, const std::string& to) {
    std::filesystem::copy_file(testing::Repo("tests/data/gguf/" + from), dir.File(to),
                               std::filesystem::copy_options::overwrite_existing);
  };
  copy("tiny-split-00002-of-00002.gguf", "m-00002-of-00002.gguf");
  const auto missing = OpenGguf(dir.File("m-00002-of-00002.gguf"));
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_THAT(missing.error().message, HasSubstr(dir.File("m-00001-of-00002.gguf") + ": missing, file 1 of 2"));
  copy("tiny-split-00002-of-00002.gguf", "m-00001-of-00002.gguf");
  EXPECT_THAT(OpenGguf(dir.File("m-00002-of-00002.gguf")).error().message, HasSubstr("says that it is file 2 of 2"));
  copy("tiny-split-00001-of-00002.gguf", "renamed.gguf");
  EXPECT_THAT(OpenGguf(dir.File("renamed.gguf")).error().message, HasSubstr("rename it"));
}

TEST(Gguf, ReadsARealModel) {
  const auto file = OpenGguf(testing::Repo("tests/data/checkpoints/llamacpp-q2-k/q2-k.gguf"));
  ASSERT_TRUE(file) << file.error().ToString();
  EXPECT_EQ(file->metadata.Int("llama.block_count").value(), 2);
  EXPECT_EQ(file->metadata.Strings("tokenizer.ggml.tokens").value().size(), 512u);
  const StoredTensor* tensor = file->tensors.Find("blk.1.ffn_gate.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->stored_type, "Q2_K");
  EXPECT_EQ(tensor->shape, Shape({512, 256}));
}

TEST(Gguf, OpensFilesWithTypesItCannotDecode) {
  testing::TempDir dir;
  const std::string bytes = Builder().Head(1, 0).Info("t", {256, 2}, 19, 0).Pad(32).Data(100).Pad(32);
  std::ofstream(dir.File("a.gguf")) << bytes;
  const auto file = OpenGguf(dir.File("a.gguf"));
  ASSERT_TRUE(file) << file.error().ToString();
  const StoredTensor* tensor = file->tensors.Find("t");
  EXPECT_EQ(tensor->stored_type, "IQ1_S");
  if (!tensor->ggml) {
    EXPECT_THAT(tensor->unsupported, HasSubstr("type IQ1_S (number 19)"));
  }
  EXPECT_EQ(tensor->view.shape, Shape({2, 50}));
}

TEST(GgufWriter, CopiesAFileByteForByte) {
  for (const char* name : {"gguf/tiny-v3-le", "gguf/tiny-v3-le-align64", "checkpoints/llamacpp-q2-k/q2-k"}) {
    SCOPED_TRACE(name);
    testing::TempDir dir;
    const std::string source = testing::Repo(std::string("tests/data/") + name + ".gguf");
    const auto file = OpenGguf(source).value();
    GgufMetadataWriter metadata;
    for (const auto& [key, value] : file.metadata.entries())
      if (key != "general.alignment") metadata.Copy(key, value);
    std::vector<GgufDeclaration> tensors;
    for (const StoredTensor& tensor : file.tensors.tensors())
      tensors.push_back({tensor.name, tensor.shape, tensor.ggml->ggml_type});
    auto writer = GgufWriter::Create(dir.File("a.gguf"), metadata, tensors,
                                     static_cast<uint32_t>(file.metadata.Int("general.alignment", 32).value()));
    ASSERT_TRUE(writer) << writer.error().ToString();
    for (size_t i = tensors.size(); i-- > 0;) {
      const StoredTensor& tensor = file.tensors.tensors()[i];
      const std::span<const std::byte> bytes(tensor.view.data, static_cast<size_t>(tensor.size_bytes));
      ASSERT_TRUE(writer->Write(tensor.name, bytes.first(5)));
      ASSERT_TRUE(writer->Write(tensor.name, bytes.subspan(5)));
    }
    ASSERT_TRUE(writer->Commit());
    const std::string got = ReadTextFile(dir.File("a.gguf")).value(), wanted = ReadTextFile(source).value();
    EXPECT_EQ(got.size(), wanted.size());
    // The alignment key stands last in ours; everything else is in its place.
    if (std::string(name) != "gguf/tiny-v3-le-align64") {
      EXPECT_TRUE(got == wanted);
    }
    ASSERT_TRUE(OpenGguf(dir.File("a.gguf")));
  }
}

TEST(GgufWriter, RefusesMisuse) {
  testing::TempDir dir;
  const auto create = [&](std::vector<GgufDeclaration> tensors, uint32_t alignment = 32) {
    return GgufWriter::Create(dir.File("a.gguf"), {}, tensors, alignment);
  };
  EXPECT_THAT(create({{"a", {2, 33}, 2}}).error().message, HasSubstr("multiple of 32"));
  EXPECT_THAT(create({{"a", {2, 32}, 99}}).error().message, HasSubstr("no ggml type"));
  EXPECT_THAT(create({{"a", {1}, 0}, {"a", {1}, 0}}).error().message, HasSubstr("twice"));
  EXPECT_THAT(create({{std::string(64, 'a'), {1}, 0}}).error().message, HasSubstr("63 bytes"));
  EXPECT_THAT(create({{"a", {1, 1, 1, 1, 1}, 0}}).error().message, HasSubstr("dimensions"));
  EXPECT_THAT(create({}, 48).error().message, HasSubstr("power of two"));
  {
    auto writer = create({{"a", {2}, 0}}).value();
    EXPECT_THAT(writer.Write("b", {}).error().message, HasSubstr("not declared"));
    EXPECT_THAT(writer.Commit().error().message, HasSubstr("got 0 of its 8"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace nibble
