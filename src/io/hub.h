// SPDX-License-Identifier: Apache-2.0
// From what a user types to files on this machine.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace nibble {

struct ModelLocation {
  enum Kind : uint8_t { kHubFolder, kGguf };
  Kind kind = kHubFolder;
  std::string path;  // the folder; or the .gguf file (of a split model the first shard)
};

// `model` is one of
//   a folder with config.json or *.safetensors   -> hub folder
//   a folder with *.gguf only                     -> its model, whole or split; several models are a Usage error with the list
//   a *.gguf file, any shard of a split model
//   "org/name" or "org/name@revision"             -> the snapshot in the hub cache ($HF_HUB_CACHE, $HF_HOME/hub,
//                                                    ~/.cache/huggingface/hub), by refs/<revision, default main>
// NotFound says what was tried and the command that downloads it. Opens no file but refs/.
Result<ModelLocation> ResolveModel(const std::string& model);

// The hub cache folder by the environment, whether it exists or not.
std::string HubCacheFolder();

}  // namespace nibble
