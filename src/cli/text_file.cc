// SPDX-License-Identifier: Apache-2.0
#include "cli/text_file.h"

#include "io/mapped_file.h"

namespace nibble {

Result<std::string> ReadTextForModel(const std::string& path) {
  NIBBLE_TRY(const std::string text, ReadTextFile(path, int64_t{1} << 30));
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r')
      out += text[i];
    else if (i + 1 == text.size() || text[i + 1] != '\n')
      out += '\n';
  }
  return out;
}

}  // namespace nibble
