// SPDX-License-Identifier: Apache-2.0
// Post-processors of tokenizer.json: what stands before and behind the ids of a text (bos, [CLS], eos ...). All of them come down
// to two lists, because a text is encoded alone, never as one of a pair.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/json.h"

namespace nibble {

struct PostProcessor {
  std::vector<int32_t> before, after;
};

// Types: TemplateProcessing ByteLevel RobertaProcessing BertProcessing Sequence; another type is kUnsupported. Errors: a template
// that does not hold sequence A exactly once, a special token that the template does not define.
Result<PostProcessor> ParsePostProcessor(const Json& spec, const std::string& where);

}  // namespace nibble
