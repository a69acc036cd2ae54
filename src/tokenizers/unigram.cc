// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/unigram.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tokenizers/unicode.h"

namespace nibble {
namespace {

constexpr size_t kMaxTokenBytes = 1024;  // the search tries every token length at every character

struct Best {
  double score = -std::numeric_limits<double>::infinity();
  size_t begin = 0;  // of the last token
  int32_t id = -1;
  bool reached = false;
};

}  // namespace

Result<std::unique_ptr<UnigramModel>> UnigramModel::Make(Vocabulary vocabulary, std::vector<double> scores,
                                                         const UnigramOptions& options, const std::string& where) {
  if (options.unk_id >= vocabulary.size())
    return Corrupt("{}: unk_id {} is outside of the vocabulary of {}", where, options.unk_id, vocabulary.size());
  if (vocabulary.longest() > kMaxTokenBytes)
    return Unsupported("{}: a token of {} bytes, at most {}", where, vocabulary.longest(), kMaxTokenBytes);
  std::unique_ptr<UnigramModel> model(new UnigramModel(std::move(vocabulary)));
  double lowest = std::numeric_limits<double>::infinity();
  for (const double score : scores) {
    if (std::isnan(score) || score == std::numeric_limits<double>::infinity())
      return Corrupt("{}: a score is not a finite number", where);
    if (std::isfinite(score)) lowest = std::min(lowest, score);
  }
  model->scores_ = std::move(scores);
  model->options_ = options;
  model->unk_score_ = options.unk_score.value_or(lowest - kUnkPenalty);
  return model;
}

Status UnigramModel::AppendUnknown(std::string_view text, std::vector<int32_t>& ids) const {
  const size_t start = ids.size();
  bool spelled = options_.byte_fallback;
  for (size_t i = 0; spelled && i < text.size(); ++i) {
    ids.push_back(vocabulary_.Find(fmt::format("<0x{:02X}>", static_cast<unsigned char>(text[i]))));
    spelled = ids.back() >= 0;
  }
  if (spelled) return {};
  ids.resize(start);
  if (options_.unk_id < 0) return Corrupt("no token for \"{}\" and the tokenizer has no unk token", text.substr(0, 80));
  ids.push_back(options_.unk_id);
  return {};
}

Status UnigramModel::Encode(std::string_view word, std::vector<int32_t>& ids) const {
  std::vector<Best> best(word.size() + 1);  // by end
  best[0] = {0, 0, -1, true};
  for (size_t begin = 0; begin < word.size();) {
    size_t next = begin;
    unicode::Next(word, next);
    const auto offer = [&](size_t end, int32_t id, double score) {
      Best& target = best[end];
      const double sum = Sum(best[begin].score, score);
      if (!target.reached || sum > target.score) target = {sum, begin, id, true};
    };
    bool single = false;
    for (size_t end = next; end - begin <= vocabulary_.longest();) {
      int32_t id = vocabulary_.Find(word.substr(begin, end - begin));
      if (id >= 0 && std::isinf(scores_[static_cast<size_t>(id)])) id = -1;
      if (id >= 0) offer(end, id, scores_[static_cast<size_t>(id)]);
      single |= id >= 0 && end == next;
      if (end == word.size()) break;
      unicode::Next(word, end);
    }
    if (!single) offer(next, -1, unk_score_);
    begin = next;
  }
  std::vector<std::pair<size_t, size_t>> cuts;  // from the right
  for (size_t end = word.size(); end > 0; end = best[end].begin) {
    const bool unknown = best[end].id < 0;
    if (unknown && !cuts.empty() && best[cuts.back().second].id < 0) {
      cuts.back().first = best[end].begin;  // neighbouring unknown characters are one unk
    } else {
      cuts.emplace_back(best[end].begin, end);
    }
  }
  for (auto cut = cuts.rbegin(); cut != cuts.rend(); ++cut) {
    const int32_t id = best[cut->second].id;
    if (id >= 0) {
      ids.push_back(id);
    } else {
      NIBBLE_RETURN_IF_ERROR(AppendUnknown(word.substr(cut->first, cut->second - cut->first), ids));
    }
  }
  return {};
}

}  // namespace nibble
