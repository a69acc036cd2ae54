// SPDX-License-Identifier: Apache-2.0
// A model as a GGUF file: metadata from config.json, llama.cpp's tensor names and row order, tokenizer keys from tokenizer.json.
#pragma once

#include "io/gguf_writer.h"
#include "quantizers/convert.h"
#include "quantizers/source_model.h"

namespace nibble {

// Matrices as F32, F16, BF16 or Q8_0 (F16 where rows are no multiple of 32); vectors and routers as F32. The file is opened again:
// every tensor has the bytes that were written, every module decodes to the source within the type's error, and the rope
// frequencies are the source's.
Result<ConvertReport> ExportGguf(Checkpoint& source, const SourceModel& model, const std::string& out,
                                 const ConvertOptions& options, Progress* progress);

// tokenizer.ggml.* and tokenizer.chat_template of a hub folder with `rows` embeddings. False, with a warning, when GGUF cannot say
// this tokenizer.
Result<bool> WriteGgufTokenizer(const std::string& hub_folder, int64_t rows, GgufMetadataWriter* keys);

}  // namespace nibble
