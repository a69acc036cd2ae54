// SPDX-License-Identifier: Apache-2.0
// Regular expressions over UTF-8: PCRE2 with Unicode classes, compiled to machine code where the machine allows, and with limits on
// matching effort, so that a hostile pattern gives an error and not a hang. The only file that knows PCRE2.
#pragma once

#include <cstddef>
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

  // `where` is named in errors. Patterns are those of the hub's tokenizer.json (Oniguruma's syntax as far as it is also PCRE2's).
  static Result<Regex> Compile(std::string_view pattern, const std::string& where);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // First match at or after byte `start`; `text` must be well-formed UTF-8 and `start` a character boundary. Thread-safe.
  // kResourceExhausted when the effort limit is hit.
  Result<std::optional<Match>> Find(std::string_view text, size_t start) const;

  const std::string& pattern() const;

 private:
  struct Compiled;
  explicit Regex(std::unique_ptr<Compiled> compiled);
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace nibble
