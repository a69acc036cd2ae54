// SPDX-License-Identifier: Apache-2.0
// Python's pickles as data. Nothing is executed or constructed: a call becomes a node that names what would have been called, and a
// name that the caller's list does not have is an error. Protocols 2 to 5, as PyTorch writes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace nibble {

struct PickleValue {
  enum Kind : uint8_t {
    kNone,
    kBool,
    kInt,
    kFloat,
    kString,  // str, bytes
    kList,    // also sets
    kTuple,
    kDict,        // items: key, value, key, value ...; collections.OrderedDict too
    kGlobal,      // text "torch._utils._rebuild_tensor_v2"
    kCall,        // items: callable, arguments (a tuple), state that was set afterwards (0, 1 or more)
    kPersistent,  // items: the id
  } kind = kNone;
  int64_t integer = 0;  // kBool, kInt
  double number = 0;
  std::string text;
  std::vector<uint32_t> items;  // indices into Pickle::values; a list may contain itself
};

struct Pickle {
  std::vector<PickleValue> values;
  uint32_t root = 0;

  const PickleValue& at(uint32_t index) const { return values[index]; }
};

// Whether a name, "module.name", may occur.
using PickleNameAllowed = bool (*)(std::string_view name);

// Errors name `where`, the byte, and what was found; an unknown name or opcode is Unsupported, everything else Corrupt.
Result<Pickle> ParsePickle(std::span<const std::byte> bytes, const std::string& where, PickleNameAllowed allowed);

}  // namespace nibble
