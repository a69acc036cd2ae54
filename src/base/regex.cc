// SPDX-License-Identifier: Apache-2.0
#include "base/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace nibble {
namespace {

constexpr size_t kMaxPatternBytes = 64 << 10;
constexpr uint32_t kHeapLimitKib = 64 << 10;

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

std::string Message(int code) {
  PCRE2_UCHAR text[256];
  const int size = pcre2_get_error_message(code, text, sizeof text);
  return size < 0 ? fmt::format("PCRE2 error {}", code) : std::string(reinterpret_cast<char*>(text), static_cast<size_t>(size));
}

}  // namespace

struct Regex::Compiled {
  std::string pattern;
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  ~Compiled() {
    pcre2_match_context_free(context);
    pcre2_code_free(code);
  }
};

Regex::Regex(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::Compile(std::string_view pattern, const std::string& where, uint32_t max_steps) {
  if (pattern.size() > kMaxPatternBytes)
    return Corrupt("{}: pattern of {} bytes, at most {}", where, pattern.size(), kMaxPatternBytes);
  auto compiled = std::make_unique<Compiled>();
  compiled->pattern = std::string(pattern);
  int error = 0;
  size_t offset = 0;
  // \C would match a single byte and break the promise that matches end between characters.
  const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
  compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &offset, nullptr);
  if (!compiled->code) return Corrupt("{}: pattern \"{}\": {} at byte {}", where, pattern.substr(0, 200), Message(error), offset);
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);  // a refusal leaves the interpreter, which gives the same matches
  compiled->context = pcre2_match_context_create(nullptr);
  if (!compiled->context) return Fail(Code::kResourceExhausted, "{}: no memory for a pattern", where);
  pcre2_set_match_limit(compiled->context, max_steps);
  pcre2_set_heap_limit(compiled->context, kHeapLimitKib);
  return Regex(std::move(compiled));
}

Result<std::optional<Regex::Match>> Regex::Find(std::string_view text, size_t start) const {
  thread_local const std::unique_ptr<pcre2_match_data, FreeMatchData> data(pcre2_match_data_create(1, nullptr));
  if (!data) return Fail(Code::kResourceExhausted, "no memory to match a pattern");
  const auto match = [&](uint32_t options) {
    return pcre2_match(compiled_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start, options, data.get(),
                       compiled_->context);
  };
  int found = match(PCRE2_NO_UTF_CHECK);
  // Compiled code works on a small stack; the interpreter backtracks on the heap, under its own limit.
  if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match(PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
  if (found == PCRE2_ERROR_NOMATCH) return std::optional<Match>();
  if (found < 0) {
    return Fail(Code::kResourceExhausted, "pattern \"{}\" at byte {} of a text of {}: {}", compiled_->pattern.substr(0, 200), start,
                text.size(), Message(found));
  }
  const size_t* range = pcre2_get_ovector_pointer(data.get());
  // \K in a lookaround can put the start behind the end, or before `start`.
  if (range[0] > range[1] || range[0] < start)
    return Unsupported("pattern \"{}\": a match that ends before it begins", compiled_->pattern);
  return std::optional<Match>(Match{range[0], range[1]});
}

bool Regex::MatchesStart(std::string_view text) const {
  thread_local const std::unique_ptr<pcre2_match_data, FreeMatchData> data(pcre2_match_data_create(1, nullptr));
  const auto* begin = reinterpret_cast<PCRE2_SPTR>(text.data());
  return data && pcre2_match(compiled_->code, begin, text.size(), 0, PCRE2_ANCHORED, data.get(), compiled_->context) >= 0;
}

const std::string& Regex::pattern() const { return compiled_->pattern; }

}  // namespace nibble
