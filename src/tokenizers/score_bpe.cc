// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/score_bpe.h"

#include <cmath>
#include <queue>

#include "tokenizers/unicode.h"

namespace nibble {
namespace {

struct Span {
  size_t begin, size;  // size 0: merged away
  int64_t previous, next;
};

struct ScoreCandidate {
  float score;
  int64_t left;
  size_t size;  // of both together; differs from the spans' when one has changed since
  bool operator<(const ScoreCandidate& other) const { return score != other.score ? score < other.score : left > other.left; }
};

}  // namespace

Result<std::unique_ptr<ScoreBpeModel>> ScoreBpeModel::Make(Vocabulary vocabulary, std::vector<float> scores,
                                                           ScoreBpeOptions options, const std::string& where) {
  if (static_cast<int64_t>(scores.size()) != vocabulary.size()) {
    return Corrupt("{}: {} scores for {} tokens", where, scores.size(), vocabulary.size());
  }
  for (const float score : scores) {
    if (std::isnan(score)) return Corrupt("{}: a score is not a number", where);
  }
  std::unique_ptr<ScoreBpeModel> model(new ScoreBpeModel(std::move(vocabulary)));
  model->scores_ = std::move(scores);
  NIBBLE_TRY(model->whole_, AddedTokenFinder::Make(options.whole, where));
  model->options_ = std::move(options);
  if (!model->vocabulary_.Has(model->options_.unk_id)) model->options_.unk_id = -1;
  for (size_t byte = 0; byte < model->byte_ids_.size(); ++byte) {
    model->byte_ids_[byte] = !model->options_.byte_fallback ? -1 : model->vocabulary_.Find(fmt::format("<0x{:02X}>", byte));
  }
  return model;
}

int32_t ScoreBpeModel::Find(std::string_view text) const {
  const int32_t id = vocabulary_.Find(text);
  return id >= 0 && std::isinf(scores_[static_cast<size_t>(id)]) ? -1 : id;
}

Status ScoreBpeModel::Encode(std::string_view word, std::vector<int32_t>& ids) const {
  std::vector<TextPart> parts;
  whole_.Split(word, parts);
  for (const TextPart& part : parts) {
    const std::string_view text = word.substr(part.begin, part.end - part.begin);
    const int32_t id = part.id >= 0 || !options_.whole_words ? part.id : Find(text);
    if (id >= 0)
      ids.push_back(id);
    else
      EncodePlain(text, ids);
  }
  return {};
}

void ScoreBpeModel::EncodePlain(std::string_view word, std::vector<int32_t>& ids) const {
  std::vector<Span> spans;
  for (size_t pos = 0; pos < word.size();) {
    const size_t begin = pos;
    unicode::Next(word, pos);
    const auto at = static_cast<int64_t>(spans.size());
    spans.push_back({begin, pos - begin, at - 1, pos < word.size() ? at + 1 : -1});
  }
  std::priority_queue<ScoreCandidate> queue;
  const auto consider = [&](int64_t left) {
    if (left < 0 || spans[static_cast<size_t>(left)].next < 0) return;
    const Span& a = spans[static_cast<size_t>(left)];
    const size_t size = a.size + spans[static_cast<size_t>(a.next)].size;
    const int32_t id = Find(word.substr(a.begin, size));
    if (id >= 0) queue.push({scores_[static_cast<size_t>(id)], left, size});
  };
  for (size_t i = 0; i < spans.size(); ++i) consider(static_cast<int64_t>(i));
  while (!queue.empty()) {
    const ScoreCandidate top = queue.top();
    queue.pop();
    Span& left = spans[static_cast<size_t>(top.left)];
    if (left.size == 0 || left.next < 0 || left.size + spans[static_cast<size_t>(left.next)].size != top.size) continue;
    Span& right = spans[static_cast<size_t>(left.next)];
    left.size += right.size;
    right.size = 0;
    left.next = right.next;
    if (left.next >= 0) spans[static_cast<size_t>(left.next)].previous = top.left;
    consider(left.previous);
    consider(top.left);
  }
  for (int64_t at = spans.empty() ? -1 : 0; at >= 0; at = spans[static_cast<size_t>(at)].next) {
    const std::string_view text = word.substr(spans[static_cast<size_t>(at)].begin, spans[static_cast<size_t>(at)].size);
    const int32_t id = Find(text);
    if (id >= 0) {
      ids.push_back(id);
      continue;
    }
    for (const char byte : text) {
      const int32_t byte_id = byte_ids_[static_cast<unsigned char>(byte)];
      if (byte_id >= 0) {
        ids.push_back(byte_id);
      } else if (options_.unk_id >= 0) {
        if (!(options_.fuse_unk && !ids.empty() && ids.back() == options_.unk_id)) ids.push_back(options_.unk_id);
        break;  // one unk for the character
      }
    }
  }
}

}  // namespace nibble
