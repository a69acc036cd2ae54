// SPDX-License-Identifier: Apache-2.0
#include "methods/name_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace nibble {
namespace {

constexpr uint32_t kMaxSteps = 100'000;

struct Compiled {
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  Compiled() = default;
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;
  ~Compiled() {
    pcre2_code_free(code);
    pcre2_match_context_free(context);
  }
};

}  // namespace

Result<NamePattern> NamePattern::Compile(std::string_view expression, const std::string& where) {
  auto code = std::make_shared<Compiled>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  const auto* text = reinterpret_cast<PCRE2_SPTR>(expression.data());
  code->code = pcre2_compile(text, expression.size(), PCRE2_UTF | PCRE2_ANCHORED, &error, &offset, nullptr);
  if (!code->code) {
    PCRE2_UCHAR message[160];
    pcre2_get_error_message(error, message, sizeof message);
    return Corrupt("{}: regular expression \"{}\": {} at byte {}", where, expression, reinterpret_cast<const char*>(message),
                   offset);
  }
  code->context = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(code->context, kMaxSteps);
  NamePattern pattern;
  pattern.text_ = expression;
  pattern.code_ = std::move(code);
  return pattern;
}

bool NamePattern::Matches(std::string_view name) const {
  const auto* code = static_cast<const Compiled*>(code_.get());
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  const int found = pcre2_match(code->code, reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0, 0, data, code->context);
  pcre2_match_data_free(data);
  return found >= 0;
}

}  // namespace nibble
