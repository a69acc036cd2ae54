// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/word_piece.h"

#include <algorithm>

#include "tokenizers/unicode.h"

namespace nibble {

Result<std::unique_ptr<WordPieceModel>> WordPieceModel::Make(Vocabulary vocabulary, WordPieceOptions options,
                                                             const std::string& where) {
  const int32_t unk_id = vocabulary.Find(options.unk_token);
  if (unk_id < 0) return Corrupt("{}: unk_token \"{}\" is not in the vocabulary", where, options.unk_token);
  options.max_chars_per_word = std::clamp<int64_t>(options.max_chars_per_word, 0, 10'000);  // the search is quadratic in it
  return std::unique_ptr<WordPieceModel>(new WordPieceModel(std::move(vocabulary), std::move(options), unk_id));
}

Status WordPieceModel::Encode(std::string_view word, std::vector<int32_t>& ids) const {
  const size_t start = ids.size();
  bool whole = static_cast<int64_t>(unicode::Length(word)) <= options_.max_chars_per_word;
  std::string text;
  for (size_t begin = 0; whole && begin < word.size();) {
    int32_t id = -1;
    size_t end = std::min(word.size(), begin + vocabulary_.longest());
    for (; end > begin; end = unicode::Previous(word, end)) {
      text = begin == 0 ? "" : options_.continuing_subword_prefix;
      text += word.substr(begin, end - begin);
      id = vocabulary_.Find(text);
      if (id >= 0) break;
    }
    whole = id >= 0;
    ids.push_back(id);
    begin = end;
  }
  if (!whole) {
    ids.resize(start);
    ids.push_back(unk_id_);
  }
  return {};
}

}  // namespace nibble
