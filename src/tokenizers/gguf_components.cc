// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/gguf_components.h"

#include "tokenizers/gguf_pre.h"
#include "tokenizers/unicode.h"

namespace nibble {
namespace {

// Values of tokenizer.ggml.model, named after the first models that had such vocabularies.
constexpr std::string_view kScoreModel = "llama", kMergeModel = "gpt2", kWordPieceModel = "bert", kPlainMergeModel = "gemma4";
// Text with SentencePiece's spaces, characters without a token byte by byte.
GgufComponents PlainText(bool prefix) {
  GgufComponents made;
  Json normalizers = Json::array();
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", unicode::kPieceSpace}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", unicode::kPieceSpace}});
  made.normalizer = {{"type", "Sequence"}, {"normalizers", normalizers}};
  Json decoders = Json::array({{{"type", "Replace"}, {"pattern", {{"String", unicode::kPieceSpace}}}, {"content", " "}},
                               {{"type", "ByteFallback"}},
                               {{"type", "Fuse"}}});
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  made.decoder = {{"type", "Sequence"}, {"decoders", decoders}};
  made.byte_fallback = true;
  return made;
}

// "llama": SentencePiece BPE by scores. Ids that the format fixes when the file does not give them: unk 0, bos 1, eos 2.
GgufComponents SentencePiece(const GgufVocab& vocab) {
  GgufComponents made = PlainText(vocab.add_space_prefix.value_or(true));
  made.add_bos = vocab.add_bos.value_or(true);
  made.default_bos = 1;
  made.default_eos = 2;
  return made;
}

// "gpt2": byte-level BPE with merges, split as the named pre-tokenizer does.
Result<GgufComponents> ByteLevelComponents(const GgufVocab& vocab, const std::string& where) {
  GgufComponents made;
  const GgufPreTokenizer* pre = FindGgufPreTokenizer(vocab.pre.empty() ? "default" : vocab.pre);
  if (!pre) return Unsupported("{}: tokenizer.ggml.pre \"{}\"; known are {}", where, vocab.pre, GgufPreTokenizerNames());
  Json steps = Json::array();
  for (const auto pattern : pre->patterns) {
    steps.push_back({{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  const bool prefix = vocab.add_space_prefix.value_or(false);
  steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"trim_offsets", true}, {"use_regex", false}});
  made.pre_tokenizer = {{"type", "Sequence"}, {"pretokenizers", steps}};
  made.decoder = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  made.kind = GgufComponents::kMerges;
  made.ignore_merges = pre->ignore_merges;
  made.add_bos = vocab.add_bos.value_or(pre->add_bos);
  made.default_bos = made.default_eos = 11;
  return made;
}

// "gemma4": merges of such text, of lines and the ends between them. A text begins with bos whatever the file says.
GgufComponents PlainMerges(const GgufVocab& vocab) {
  GgufComponents made = PlainText(vocab.add_space_prefix.value_or(false));
  made.pre_tokenizer = {{"type", "Split"}, {"pattern", {{"Regex", "[^\\n]+|[\\n]+"}}}, {"behavior", "Isolated"}, {"invert", false}};
  made.kind = GgufComponents::kMerges;
  made.add_bos = true;
  made.default_bos = made.default_eos = -1;
  return made;
}

// "bert": WordPiece of an uncased BERT.
GgufComponents WordPiece(const GgufVocab& vocab) {
  GgufComponents made;
  made.kind = GgufComponents::kWordPiece;
  made.normalizer = {{"type", "BertNormalizer"}, {"lowercase", true}};
  made.pre_tokenizer = {{"type", "BertPreTokenizer"}};
  made.decoder = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  made.add_bos = vocab.add_bos.value_or(true);
  made.default_bos = 101;
  made.default_eos = 102;
  return made;
}

}  // namespace

Result<GgufComponents> DescribeGgufComponents(const GgufVocab& vocab, const std::string& where) {
  GgufComponents made;
  if (vocab.model == kScoreModel) {
    made = SentencePiece(vocab);
  } else if (vocab.model == kMergeModel) {
    NIBBLE_TRY(made, ByteLevelComponents(vocab, where));
  } else if (vocab.model == kWordPieceModel) {
    made = WordPiece(vocab);
  } else if (vocab.model == kPlainMergeModel) {
    made = PlainMerges(vocab);
  } else {
    return Unsupported(
        "{}: tokenizer.ggml.model \"{}\"; known are \"llama\" (SentencePiece BPE), \"gpt2\" (byte-level BPE), \"t5\" (unigram), "
        "\"bert\" (WordPiece), \"gemma4\" (BPE of plain text)",
        where, vocab.model);
  }
  made.add_eos = vocab.add_eos.value_or(made.kind == GgufComponents::kWordPiece);
  return made;
}

Result<std::vector<std::pair<std::string, std::string>>> SplitGgufMerges(const GgufVocab& vocab, const std::string& where) {
  std::vector<std::pair<std::string, std::string>> merges;
  merges.reserve(vocab.merges.size());
  for (const std::string& merge : vocab.merges) {
    const size_t space = merge.find(' ', 1);
    if (merge.empty() || space == merge.npos)
      return Corrupt("{}: merge {} is \"{}\", wanted \"left right\"", where, merges.size(), merge);
    merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return merges;
}

}  // namespace nibble
