// SPDX-License-Identifier: Apache-2.0
#include "quantizers/config_file.h"

#include <filesystem>

#include "base/log.h"
#include "io/atomic_file.h"
#include "io/gguf.h"
#include "io/mapped_file.h"
#include "tokenizers/gguf_hub_files.h"
#include "tokenizers/gguf_reader.h"

namespace nibble {
namespace {

bool IsHubFolder(const Checkpoint& source) { return std::filesystem::is_directory(source.path()); }

const char* TorchName(DType dtype) { return dtype == DType::kF32 ? "float32" : dtype == DType::kF16 ? "float16" : "bfloat16"; }

}  // namespace

Status WriteConfigFile(const Checkpoint& source, DType dtype, const Json& quantization, const std::string& path) {
  OrderedJson config;
  if (IsHubFolder(source)) {
    const std::string from = source.path() + "/config.json";
    NIBBLE_TRY(const std::string text, ReadTextFile(from));
    NIBBLE_TRY(config, ParseOrderedJson(text, from));
  } else {
    NIBBLE_TRY(config, ParseOrderedJson(source.config().dump(), source.path()));
  }
  for (const char* key : {"quantization_config", "compression_config"}) config.erase(key);
  config[config.contains("torch_dtype") && !config.contains("dtype") ? "torch_dtype" : "dtype"] = TorchName(dtype);
  if (!quantization.is_null()) {
    NIBBLE_TRY(config["quantization_config"], ParseOrderedJson(quantization.dump(), "quantization_config"));
  }
  return WriteFileAtomically(path, config.dump(2) + "\n");
}

Status CopyHubFiles(const Checkpoint& source, const OutputFolder& folder) {
  if (IsHubFolder(source)) return folder.CopyFrom(source.path());
  NIBBLE_TRY(const GgufFile file, OpenGguf(source.path()));
  const auto vocab = ReadGgufVocab(file.metadata, source.path());
  const auto files = vocab ? HubFilesOfGgufVocab(*vocab, source.path()) : tl::unexpected(vocab.error());
  if (!files) {
    Warn("no tokenizer files were written: {}", files.error().message);
    return {};
  }
  for (const auto& [name, text] : *files) NIBBLE_RETURN_IF_ERROR(WriteFileAtomically(folder.File(name), text));
  return {};
}

}  // namespace nibble
