// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/bpe.h"

#include <algorithm>
#include <queue>

#include "tokenizers/unicode.h"

namespace nibble {
namespace {

// Below this many symbols a scan for the lowest rank is faster than a heap: most words have fewer than ten.
constexpr size_t kShortWord = 48;

struct BpeCandidate {
  int32_t rank;
  int32_t at;           // left symbol
  int32_t left, right;  // ids when it was found; a candidate whose symbols have changed since is stale
  int32_t merged;
  bool operator<(const BpeCandidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
};

struct Node {
  int32_t id, previous, next;  // id -1: merged away
};

}  // namespace

Result<std::unique_ptr<BpeModel>> BpeModel::Make(Vocabulary vocabulary, const std::vector<BpeMerge>& merges, BpeOptions options,
                                                 const std::string& where) {
  std::unique_ptr<BpeModel> model(new BpeModel(std::move(vocabulary)));
  model->options_ = std::move(options);
  const BpeOptions& set = model->options_;
  model->decorated_ = !set.continuing_subword_prefix.empty() || !set.end_of_word_suffix.empty();
  if (!set.unk_token.empty()) {
    model->unk_id_ = model->vocabulary_.Find(set.unk_token);
    if (model->unk_id_ < 0) return Corrupt("{}: unk_token \"{}\" is not in the vocabulary", where, set.unk_token);
  }
  NIBBLE_RETURN_IF_ERROR(model->AddMerges(merges, where));
  model->FillTables();
  return model;
}

Status BpeModel::AddMerges(const std::vector<BpeMerge>& merges, const std::string& where) {
  merges_.Reserve(merges.size());
  int32_t rank = 0;
  std::string joined;
  for (const auto& [left, right] : merges) {
    joined = left;
    // The prefix marks that something stands before, so inside a merged token it is dropped.
    const std::string& prefix = options_.continuing_subword_prefix;
    joined += prefix.empty() || !right.starts_with(prefix) ? right : right.substr(prefix.size());
    const int32_t left_id = vocabulary_.Find(left), right_id = vocabulary_.Find(right), id = vocabulary_.Find(joined);
    if (left_id < 0 || right_id < 0 || id < 0) {
      const std::string& missing = left_id < 0 ? left : right_id < 0 ? right : joined;
      return Corrupt("{}: merge {} (\"{}\" \"{}\") needs the token \"{}\", which is not in the vocabulary", where, rank, left,
                     right, missing);
    }
    merges_.Insert(left_id, right_id, {rank++, id});
  }
  return {};
}

void BpeModel::FillTables() {
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) byte_ids_[byte] = vocabulary_.Find(fmt::format("<0x{:02X}>", byte));
  for (size_t c = 0; c < char_ids_.size(); ++c) char_ids_[c] = vocabulary_.Find(unicode::ToUtf8(static_cast<char32_t>(c)));
}

int32_t BpeModel::SymbolId(std::string_view character) const {
  if (decorated_) return vocabulary_.Find(character);
  if (character.size() > 2) return vocabulary_.Find(character);
  size_t pos = 0;
  return char_ids_[unicode::Next(character, pos)];
}

void BpeModel::Symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  std::string decorated;
  bool unk_open = false;  // the last symbol is an unk that may take in more characters
  for (size_t pos = 0; pos < word.size();) {
    const size_t begin = pos;
    unicode::Next(word, pos);
    std::string_view character = word.substr(begin, pos - begin);
    if (decorated_) {
      decorated = begin > 0 ? options_.continuing_subword_prefix : "";
      decorated += character;
      if (pos == word.size()) decorated += options_.end_of_word_suffix;
      character = decorated;
    }
    const int32_t id = SymbolId(character);
    if (id >= 0) {
      symbols.push_back(id);
      unk_open = false;
      continue;
    }
    const auto byte_id = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
    if (options_.byte_fallback && std::all_of(character.begin(), character.end(), [&](char byte) { return byte_id(byte) >= 0; })) {
      for (const char byte : character) symbols.push_back(byte_id(byte));
      unk_open = false;
    } else if (unk_id_ >= 0) {
      if (!(unk_open && options_.fuse_unk)) symbols.push_back(unk_id_);
      unk_open = true;
    }
  }
}

void BpeModel::MergeShort(std::vector<int32_t>& symbols) const {
  std::array<PairMap::Merge, kShortWord> merges;
  size_t count = symbols.size();
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = merges_.Find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) best = merges[i].rank < merges[best].rank ? i : best;
    if (merges[best].rank == PairMap::kNone) break;
    symbols[best] = merges[best].id;
    --count;
    for (size_t i = best + 1; i < count; ++i) symbols[i] = symbols[i + 1];
    for (size_t i = best; i + 1 < count; ++i) merges[i] = merges[i + 1];
    if (best > 0) merges[best - 1] = merges_.Find(symbols[best - 1], symbols[best]);
    if (best + 1 < count) merges[best] = merges_.Find(symbols[best], symbols[best + 1]);
  }
  symbols.resize(count);
}

void BpeModel::MergeLong(std::vector<int32_t>& symbols) const {
  const auto count = static_cast<int32_t>(symbols.size());
  std::vector<Node> nodes(symbols.size());
  for (int32_t i = 0; i < count; ++i)
    nodes[static_cast<size_t>(i)] = {symbols[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1};
  std::vector<BpeCandidate> found;
  const auto candidate = [&](int32_t at, auto&& keep) {
    if (at < 0) return;
    const Node& left = nodes[static_cast<size_t>(at)];
    if (left.next < 0) return;
    const int32_t right_id = nodes[static_cast<size_t>(left.next)].id;
    const PairMap::Merge merge = merges_.Find(left.id, right_id);
    if (merge.rank != PairMap::kNone) keep(BpeCandidate{merge.rank, at, left.id, right_id, merge.id});
  };
  for (int32_t i = 0; i + 1 < count; ++i) candidate(i, [&](const BpeCandidate& c) { found.push_back(c); });
  std::priority_queue<BpeCandidate> queue(std::less<BpeCandidate>(), std::move(found));
  while (!queue.empty()) {
    const BpeCandidate top = queue.top();
    queue.pop();
    Node& left = nodes[static_cast<size_t>(top.at)];
    if (left.id != top.left || left.next < 0 || nodes[static_cast<size_t>(left.next)].id != top.right) continue;
    Node& right = nodes[static_cast<size_t>(left.next)];
    left.id = top.merged;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) nodes[static_cast<size_t>(left.next)].previous = top.at;
    candidate(left.previous, [&](const BpeCandidate& c) { queue.push(c); });
    candidate(top.at, [&](const BpeCandidate& c) { queue.push(c); });
  }
  symbols.clear();
  for (int32_t at = 0; at >= 0; at = nodes[static_cast<size_t>(at)].next) symbols.push_back(nodes[static_cast<size_t>(at)].id);
}

Status BpeModel::Encode(std::string_view word, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    const int32_t whole = vocabulary_.Find(word);
    if (whole >= 0) {
      ids.push_back(whole);
      return {};
    }
  }
  if (word.size() > size_t{1} << 30) return Fail(Code::kResourceExhausted, "a word of {} bytes; at most 1 GiB", word.size());
  std::vector<int32_t> symbols;
  symbols.reserve(word.size());
  Symbols(word, symbols);
  if (symbols.size() > kShortWord) {
    MergeLong(symbols);
  } else if (symbols.size() > 1) {
    MergeShort(symbols);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
  return {};
}

}  // namespace nibble
