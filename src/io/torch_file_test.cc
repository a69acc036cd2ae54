// SPDX-License-Identifier: Apache-2.0
// Files that torch.save of PyTorch 2 wrote (fuzz/corpus/torch_file), and pickles made here.
#include "io/torch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/json.h"
#include "io/mapped_file.h"
#include "io/pickle.h"
#include "support/paths.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {
using ::testing::HasSubstr;

struct Opened {
  std::shared_ptr<const MappedFile> file;
  Result<TorchFile> contents;
};
Opened Open(const std::string& name) {
  auto file = MappedFile::Open(testing::Repo("fuzz/corpus/torch_file/" + name)).value();
  auto contents = ParseTorchFile(file->bytes(), name);
  return {std::move(file), std::move(contents)};
}

float At(const TensorView& view, std::initializer_list<int64_t> index) {
  int64_t at = 0;
  size_t i = 0;
  for (const int64_t x : index) at += x * view.stride[i++];
  return LoadScalar(view.dtype, view.data, at);
}

TEST(TorchFile, ReadsPlainTensors) {
  for (const char* name : {"plain.bin", "wrapped.bin"}) {
    const Opened opened = Open(name);
    ASSERT_TRUE(opened.contents) << opened.contents.error().ToString();
    const auto& entries = opened.contents->entries;
    ASSERT_EQ(entries.size(), 5u);
    EXPECT_EQ(entries[0].name, "a");
    EXPECT_EQ(entries[0].view.shape, Shape({4, 6}));
    EXPECT_EQ(At(entries[0].view, {3, 5}), 23);
    EXPECT_EQ(entries[1].view.shape, Shape({2, 4}));  // rows 1 and 2 of the transpose, in the same storage
    EXPECT_FALSE(entries[1].view.contiguous());
    EXPECT_EQ(At(entries[1].view, {1, 3}), 20);
    EXPECT_EQ(entries[2].view.dtype, DType::kBF16);  // a parameter
    EXPECT_EQ(At(entries[2].view, {1}), -2);
    EXPECT_EQ(entries[3].view.dtype, DType::kE4M3);
    EXPECT_EQ(At(entries[3].view, {2}), -448);
    EXPECT_EQ(entries[4].view.rank(), 0);
    EXPECT_EQ(At(entries[4].view, {}), 7);
  }
}

TEST(TorchFile, FlattensTensorSubclasses) {
  const Opened opened = Open("torchao.bin");
  ASSERT_TRUE(opened.contents) << opened.contents.error().ToString();
  std::vector<std::string> names;
  for (const auto& entry : opened.contents->entries) names.push_back(entry.name);
  EXPECT_THAT(names, ::testing::ElementsAre("_weight_qdata", "_weight_scale", "_weight_zero_point"));
  ASSERT_EQ(opened.contents->metadata.count("weight"), 1u);
  const Json json = ParseJson(opened.contents->metadata.at("weight"), "test").value();
  EXPECT_EQ(json["_type"], "Int8Tensor");
  EXPECT_EQ(json["_data"]["block_size"], Json({1, 32}));
  EXPECT_EQ(json["_data"]["dtype"]["_data"], "bfloat16");
  EXPECT_EQ(json["_data"]["act_quant_kwargs"]["_type"], "QuantizeTensorToInt8Kwargs");
  EXPECT_EQ(json["_data"]["act_quant_kwargs"]["_data"]["granularity"]["_type"], "PerRow");
}

// hqq's qmodel.pt: a dict for each module.
TEST(TorchFile, ModulesWithDictsOfTheirOwn) {
  const std::string path = testing::Repo("tests/data/tool-checkpoints/hqq-qmodel-mixtral/qmodel.pt");
  const auto file = MappedFile::Open(path).value();
  const auto contents = ParseTorchFile(file->bytes(), path);
  ASSERT_TRUE(contents) << contents.error().ToString();
  const std::string module = "model.layers.0.block_sparse_moe.gate";
  ASSERT_EQ(contents->metadata.count(module), 1u);
  const Json json = ParseJson(contents->metadata.at(module), "test").value();
  EXPECT_EQ(json["_data"]["shape"], Json({2, 64}));
  EXPECT_EQ(json["_data"]["nbits"], 8);
  EXPECT_EQ(json["_data"]["compute_dtype"]["_data"], "float16");
  std::vector<std::string> names;
  for (const auto& entry : contents->entries)
    if (entry.name.starts_with(module)) names.push_back(entry.name.substr(module.size()));
  EXPECT_THAT(names, ::testing::UnorderedElementsAre(".W_q", ".scale", ".zero"));
}

TEST(TorchFile, ExecutesNothing) {
  const Opened opened = Open("evil.bin");
  ASSERT_FALSE(opened.contents);
  EXPECT_EQ(opened.contents.error().code, Code::kUnsupported);
  EXPECT_THAT(opened.contents.error().message, HasSubstr("asks for \"posix.system\""));
}

TEST(TorchFile, RefusesWhatIsDamaged) {
  EXPECT_EQ(Open("cut.bin").contents.error().code, Code::kCorrupt);
  const Opened plain = Open("plain.bin");
  std::vector<std::byte> bytes(plain.file->bytes().begin(), plain.file->bytes().end());
  for (size_t i = 0; i < bytes.size(); ++i) {  // every byte wrong, one after the other: an error or tensors inside the file
    bytes[i] ^= std::byte{0xff};
    const auto file = ParseTorchFile(bytes, "test");
    if (file) {
      for (const auto& entry : file->entries)
        if (entry.view.rank() > 0) LoadScalar(entry.view.dtype, entry.view.data, (entry.view.dim(0) - 1) * entry.view.stride[0]);
    }
    bytes[i] ^= std::byte{0xff};
  }
  const std::string old = "\x80\x02\x8a\x0alFC\x9cF\xf9 j\xa8P\x19.";  // the magic number of PyTorch 1.5
  EXPECT_EQ(ParseTorchFile(std::as_bytes(std::span(old)), "test").error().code, Code::kUnsupported);
}

Result<Pickle> ParsePickleText(const std::string& text) {
  return ParsePickle(std::as_bytes(std::span(text)), "test", [](std::string_view name) { return name == "a.b"; });
}

TEST(Pickle, ReadsValues) {
  // [-2, 300, "x", (True, None), {1: 2.5}]
  using namespace std::string_literals;  // zeros inside
  const auto pickle = ParsePickleText("\x80\x02](J\xfe\xff\xff\xffM\x2c\x01X\x01\0\0\0x\x88N\x86}K\x01G@\x04\0\0\0\0\0\0se."s);
  ASSERT_TRUE(pickle) << pickle.error().ToString();
  const PickleValue& list = pickle->at(pickle->root);
  ASSERT_EQ(list.kind, PickleValue::kList);
  ASSERT_EQ(list.items.size(), 5u);
  EXPECT_EQ(pickle->at(list.items[0]).integer, -2);
  EXPECT_EQ(pickle->at(list.items[1]).integer, 300);
  EXPECT_EQ(pickle->at(list.items[2]).text, "x");
  EXPECT_EQ(pickle->at(list.items[3]).items.size(), 2u);
  EXPECT_EQ(pickle->at(pickle->at(list.items[4]).items[1]).number, 2.5);
}

TEST(Pickle, NamesAreCheckedInEverySpelling) {
  EXPECT_TRUE(ParsePickleText("ca\nb\n."));
  EXPECT_TRUE(
      ParsePickleText("\x8c\x01"
                      "a\x8c\x01"
                      "b\x93."));
  EXPECT_EQ(ParsePickleText("cos\nsystem\n.").error().code, Code::kUnsupported);
  EXPECT_EQ(ParsePickleText("\x8c\x02os\x8c\x06system\x93.").error().code, Code::kUnsupported);
  EXPECT_EQ(ParsePickleText("ios\nsystem\n.").error().code, Code::kUnsupported);  // an opcode of protocol 0
}

TEST(Pickle, RefusesBrokenStacks) {
  for (const char* text : {"",     ".",     "N",  "NN.", "(N.", "R.",  "NNR.",  "a.",       "]a.", "t.",      "h\x05.", "q\x01.",
                           "}Ns.", "}(Nu.", "0.", "b.",  "Q.",  "(1.", "X\x05", "\x8a\x09", "e.",  "NN\x93.", "ca\n",   "2."})
    EXPECT_FALSE(ParsePickleText(text)) << text;
}

}  // namespace
}  // namespace nibble
