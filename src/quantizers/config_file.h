// SPDX-License-Identifier: Apache-2.0
// The files of a hub folder beside its weights: config.json with other quantization settings, and everything that is copied.
#pragma once

#include <string>

#include "methods/checkpoint.h"
#include "quantizers/output_folder.h"

namespace nibble {

// config.json of the source (made from the metadata for a GGUF file), keys in their order, with `quantization` as
// quantization_config or, where it is null, without one. `dtype`: the float type that the model's tensors have now, written as
// torch spells it.
Status WriteConfigFile(const Checkpoint& source, DType dtype, const Json& quantization, const std::string& path);

// Tokenizer, templates, generation config ... of a hub folder, byte for byte; made from the metadata of a GGUF file (a warning
// where its vocabulary cannot be written so).
Status CopyHubFiles(const Checkpoint& source, const OutputFolder& folder);

}  // namespace nibble
