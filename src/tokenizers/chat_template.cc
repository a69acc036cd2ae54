// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/chat_template.h"

#include "tokenizers/jinja/interpreter.h"
#include "tokenizers/jinja/parser.h"
#include "tokenizers/unicode.h"

namespace nibble {
namespace {

std::tm LocalTime() {
  const std::time_t now = std::time(nullptr);
  std::tm local = {};
  localtime_r(&now, &local);
  return local;
}

}  // namespace

Result<ChatTemplate> ChatTemplate::Parse(std::string_view text, const std::string& name) {
  NIBBLE_TRY_IN("chat template " + name, auto tree, jinja::ParseTemplate(unicode::Sanitize(text)));
  return ChatTemplate(std::make_shared<const jinja::Template>(std::move(tree)), name);
}

Result<std::string> ChatTemplate::Render(const OrderedJson& variables, const RenderOptions& options) const {
  jinja::Interpreter interpreter(*tree_, options.limits, options.now.tm_mday == 0 ? LocalTime() : options.now);
  auto text = interpreter.Render(variables);
  if (text || !options.locate_errors) return text;
  return tl::unexpected<Error>(std::move(text).error().In(fmt::format("chat template {}, line {}", name_, interpreter.line())));
}

Result<OrderedJson> VariablesOfRecord(const OrderedJson& record) {
  if (!record.is_object() || !record.contains("messages")) return Corrupt("a record must be an object with \"messages\"");
  OrderedJson variables = {{"messages", nullptr}, {"tools", nullptr}, {"documents", nullptr}, {"add_generation_prompt", false}};
  for (const char* key : {"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"}) {
    if (const auto it = record.find(key); it != record.end()) variables[key] = *it;
  }
  if (const auto extra = record.find("extra"); extra != record.end() && extra->is_object()) {
    for (const auto& [key, value] : extra->items()) variables[key] = value;
  }
  return variables;
}

Result<std::tm> ParseTime(const std::string& text) {
  std::tm time = {};
  time.tm_hour = 12;
  const char* rest = strptime(text.c_str(), "%Y-%m-%d", &time);
  if (rest && *rest != '\0') rest = strptime(rest, *rest == 'T' ? "T%H:%M" : " %H:%M", &time);
  if (!rest || *rest != '\0') return Fail(Code::kUsage, "\"{}\" is not a date as 2024-07-26 or 2024-07-26 08:30", text);
  time.tm_isdst = -1;
  std::tm checked = time;
  if (std::mktime(&checked) == -1 || checked.tm_mday != time.tm_mday)
    return Fail(Code::kUsage, "\"{}\" is not a date of the calendar", text);
  return checked;
}

}  // namespace nibble
