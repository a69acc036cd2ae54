// SPDX-License-Identifier: Apache-2.0
#include "cli/standard_input.h"

#include <cerrno>
#include <cstdio>
#include <iostream>

namespace nibble {
namespace {

constexpr size_t kMaxInputBytes = size_t{1} << 30;

}  // namespace

Result<std::string> ReadStandardInput() {
  std::string text;
  char block[1 << 16];
  while (const size_t got = std::fread(block, 1, sizeof block, stdin)) {
    text.append(block, got);
    if (text.size() > kMaxInputBytes) return Fail(Code::kResourceExhausted, "standard input is over {} bytes", kMaxInputBytes);
  }
  if (std::ferror(stdin)) return IoError(errno, "standard input");
  return text;
}

Status ForEachInputLine(const std::function<Status(const std::string& line, const std::string& where)>& handle) {
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.empty()) continue;
    NIBBLE_RETURN_IF_ERROR(handle(line, fmt::format("standard input, line {}", number)));
  }
  return {};
}

}  // namespace nibble
