// SPDX-License-Identifier: Apache-2.0
// Chat templates: messages -> prompt, by the Jinja subset that the hub's templates use, rendered as the transformers library
// renders it. A template is untrusted: it can read the given variables and write text, nothing else, and within limits.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "io/json.h"
#include "tokenizers/jinja/budget.h"

namespace nibble {

namespace jinja {
struct Template;
}

struct RenderOptions {
  std::tm now = {};  // what strftime_now() sees; tm_mday 0: the local time of the call
  jinja::Limits limits = {};
  bool locate_errors = true;  // put "chat template NAME, line N: " before the message; off: the message as Python has it
};

class ChatTemplate {
 public:
  // `name` is used in errors. Unknown statements are errors here; unknown filters and tests when they are reached.
  static Result<ChatTemplate> Parse(std::string_view text, const std::string& name);

  // `variables` is an object: messages, tools (null when there are none), documents, add_generation_prompt, bos_token, eos_token
  // and what the template understands beside. kCorrupt with the template's own words when it calls raise_exception, or misuses a
  // value; kResourceExhausted when a limit is hit. Thread-safe.
  Result<std::string> Render(const OrderedJson& variables, const RenderOptions& options) const;

 private:
  ChatTemplate(std::shared_ptr<const jinja::Template> tree, std::string name) : tree_(std::move(tree)), name_(std::move(name)) {}
  std::shared_ptr<const jinja::Template> tree_;
  std::string name_;
};

// The variables of a record {"messages": [...], "tools": null, "extra": {...}, "add_generation_prompt": true, "bos_token": "",
// "eos_token": ""}: those of `extra` beside the others, and documents null.
Result<OrderedJson> VariablesOfRecord(const OrderedJson& record);

// The time of day 12:00 on a date "2024-07-26", or "2024-07-26 08:30"; for RenderOptions::now.
Result<std::tm> ParseTime(const std::string& text);

}  // namespace nibble
