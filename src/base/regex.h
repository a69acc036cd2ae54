// SPDX-License-Identifier: Apache-2.0
// Regular expressions over UTF-8: PCRE2 with Unicode classes, compiled to machine code where the machine allows, and with limits on
// matching effort, so that a hostile pattern gives an error and not a hang. The only file that knows PCRE2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace nibble {

class Regex {
 public:
  struct Match {
    size_t begin, end;  // bytes
  };

  // Backtracking steps that one match may take. The hub's tokenizers need one for each character of a run of spaces, else a few
  // hundred.
  static constexpr uint32_t kDefaultSteps = 10'000'000;

  // `where` is named in errors. Patterns are those of the hub's tokenizer.json (Oniguruma's syntax as far as it is also PCRE2's)
  // and of checkpoint configs (Python's).
  static Result<Regex> Compile(std::string_view pattern, const std::string& where, uint32_t max_steps = kDefaultSteps);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // First match at or after byte `start`; `text` must be well-formed UTF-8 and `start` a character boundary. Thread-safe.
  // kResourceExhausted when the effort limit is hit.
  Result<std::optional<Match>> Find(std::string_view text, size_t start) const;

  // Whether the pattern matches at the very beginning of `text`, as Python's re.match. Too much effort, or a text that is no UTF-8,
  // counts as no match. Thread-safe.
  bool MatchesStart(std::string_view text) const;

  const std::string& pattern() const;

 private:
  struct Compiled;
  explicit Regex(std::unique_ptr<Compiled> compiled);
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace nibble
