// SPDX-License-Identifier: Apache-2.0
// PyTorch's own files (.bin, .pt, .pth: a ZIP of a pickle and the storages) as tensors by name. Nothing in them is executed.
//
// Values of the state dict: plain tensors and parameters become tensors; tensor subclasses (torchao) become what they are in
// safetensors: a tensor "module._name_attribute" for each tensor attribute of "module.name", and JSON in `metadata` under
// "module.name": {"_type": class, "_data": {other attributes}, "_tensor_data_names": [...]}. A dict in the dict (HQQ: one for each
// module) becomes "module.name" for each of its tensors, and in `metadata` under "module": {"_type": "dict", "_data": {the rest}}.
// Other values are left out.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "tensors/tensor_view.h"

namespace nibble {

struct TorchFile {
  struct Entry {
    std::string name;
    TensorView view;  // into the bytes; any strides, all elements inside their storage
  };
  std::vector<Entry> entries;  // in the order of the dict
  std::map<std::string, std::string> metadata;
};

// The whole file. Errors: Corrupt; Unsupported for names outside the list, the format before PyTorch 1.6, big-endian files.
Result<TorchFile> ParseTorchFile(std::span<const std::byte> bytes, const std::string& where);

}  // namespace nibble
