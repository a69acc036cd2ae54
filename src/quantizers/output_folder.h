// SPDX-License-Identifier: Apache-2.0
// A model folder that is either there, whole, or not there: everything is written to a temporary folder beside it and renamed at
// the end.
#pragma once

#include <string>

#include "base/status.h"

namespace nibble {

class OutputFolder {
 public:
  // Usage errors: `path` exists (without force; with it, when it is no model folder or holds the source), its parent does not.
  static Result<OutputFolder> Create(const std::string& path, bool force, const std::string& source);
  OutputFolder(OutputFolder&& other) noexcept;
  OutputFolder& operator=(OutputFolder&&) = delete;
  // Without Commit the temporary folder is removed.
  ~OutputFolder();

  const std::string& temporary() const { return temporary_; }
  std::string File(const std::string& name) const { return temporary_ + "/" + name; }
  // Copies the files of a hub folder byte for byte, and additional_chat_templates/; not its weights (*.safetensors, *.bin, *.pt,
  // *.pth, *.gguf ... and their indices), config.json, quantization settings of their own, hidden files and other folders.
  Status CopyFrom(const std::string& hub_folder) const;
  // Renames; a folder that was there under the final name is removed afterwards.
  Status Commit();

 private:
  OutputFolder() = default;
  std::string path_, temporary_;
};

// Bytes of the regular files of a folder, or of one file.
int64_t BytesOnDisk(const std::string& path);

}  // namespace nibble
