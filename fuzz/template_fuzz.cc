// SPDX-License-Identifier: Apache-2.0
// Any bytes as a chat template, rendered with a fixed conversation under small limits.
#include <cstdint>
#include <string_view>

#include "tokenizers/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto chat = nibble::ChatTemplate::Parse({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!chat) return 0;
  static const nibble::OrderedJson variables = {
      {"messages",
       {{{"role", "system"}, {"content", "Be \u00e9."}},
        {{"role", "user"}, {"content", "Hi"}},
        {{"role", "assistant"}, {"content", nullptr}}}},
      {"tools",
       {{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", {{"n", 1.5}, {"big", 18446744073709551615u}}}}}}}},
      {"add_generation_prompt", true},
      {"bos_token", "<s>"},
      {"eos_token", "</s>"}};
  nibble::RenderOptions options;
  options.now.tm_mday = 1;
  options.limits = {.steps = 200'000, .allocated_bytes = 8 << 20, .output_bytes = 1 << 20, .depth = 200};
  (void)chat->Render(variables, options);
  return 0;
}
