// SPDX-License-Identifier: Apache-2.0
#include "methods/name_pattern.h"

namespace nibble {

constexpr uint32_t kMaxSteps = 100'000;

Result<NamePattern> NamePattern::Compile(std::string_view expression, const std::string& where) {
  NIBBLE_TRY(Regex regex, Regex::Compile(expression, where, kMaxSteps));
  NamePattern pattern;
  pattern.regex_ = std::make_shared<const Regex>(std::move(regex));
  return pattern;
}

bool NamePattern::Matches(std::string_view name) const { return regex_ && regex_->MatchesStart(name); }

}  // namespace nibble
