// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/split.h"

#include <array>
#include <utility>

namespace nibble {
namespace {

constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kBehaviorNames = {{
    {"Removed", SplitBehavior::kRemoved},
    {"Isolated", SplitBehavior::kIsolated},
    {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
    {"MergedWithNext", SplitBehavior::kMergedWithNext},
    {"Contiguous", SplitBehavior::kContiguous},
}};

// Collects segments from left to right; the state is the kind of the segment before.
class Splitter {
 public:
  Splitter(const Words::Range& range, SplitBehavior behavior, std::vector<Words::Range>& out)
      : range_(range), behavior_(behavior), out_(out), first_(out.size()) {}

  void Add(size_t begin, size_t end, bool is_match) {
    if (begin == end) return;
    const bool previous = std::exchange(previous_, is_match);
    const bool has_previous = std::exchange(has_previous_, true);
    switch (behavior_) {
      case SplitBehavior::kRemoved:
        if (!is_match) Push(begin, end);
        return;
      case SplitBehavior::kIsolated: return Push(begin, end);
      case SplitBehavior::kContiguous: return has_previous && previous == is_match ? Extend(end) : Push(begin, end);
      case SplitBehavior::kMergedWithPrevious: return is_match && has_previous && !previous ? Extend(end) : Push(begin, end);
      // A match takes the text behind it; of two neighbouring matches only the second does.
      case SplitBehavior::kMergedWithNext: return !is_match && has_previous && previous ? Extend(end) : Push(begin, end);
    }
  }

 private:
  void Push(size_t begin, size_t end) { out_.push_back({range_.begin + begin, range_.begin + end, range_.at_start && begin == 0}); }
  void Extend(size_t end) {
    if (out_.size() > first_) out_.back().end = range_.begin + end;
  }

  const Words::Range range_;
  const SplitBehavior behavior_;
  std::vector<Words::Range>& out_;
  const size_t first_;
  bool previous_ = false, has_previous_ = false;
};

}  // namespace

Result<SplitBehavior> ParseSplitBehavior(std::string_view name, const std::string& where) {
  for (const auto& [known, behavior] : kBehaviorNames) {
    if (name == known) return behavior;
  }
  return Corrupt("{}: behavior \"{}\", wanted Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous", where, name);
}

void SplitRange(const Words::Range& range, const std::vector<Regex::Match>& matches, SplitBehavior behavior, bool invert,
                std::vector<Words::Range>& out) {
  Splitter splitter(range, behavior, out);
  size_t done = 0;
  for (const auto& match : matches) {
    splitter.Add(done, match.begin, invert);
    splitter.Add(match.begin, match.end, !invert);
    done = match.end;
  }
  splitter.Add(done, range.end - range.begin, invert);
}

}  // namespace nibble
