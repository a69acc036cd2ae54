// SPDX-License-Identifier: Apache-2.0
// Regular expressions over module names, as checkpoint configs write them: Python's re.match, anchored at the start only.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/regex.h"
#include "base/status.h"

namespace nibble {

class NamePattern {
 public:
  // Errors name `where`, the expression and the position of the fault.
  static Result<NamePattern> Compile(std::string_view expression, const std::string& where);
  // True if the expression matches a prefix of `name`. Bounded: a match that takes more than 100,000 steps counts as no match.
  // Thread-safe.
  bool Matches(std::string_view name) const;

 private:
  std::shared_ptr<const Regex> regex_;  // patterns are copied with the configs that hold them
};

}  // namespace nibble
