// SPDX-License-Identifier: Apache-2.0
// Checkpoint methods from outside the tree: shared libraries that register a QuantizationConfig when they are loaded.
//
//   static nibble::Status Register() { return nibble::RegisterQuantizationConfig("my_quant", MakeMyConfig, "what it is"); }
//   NIBBLE_PLUGIN(Register)
//
// Built against nibble's headers, not linked with its library: the program that loads it has every symbol. C++ types cross the
// border, so plug-in and program must be of the same nibble version and compiler; LoadPlugin checks both before it runs anything.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "base/version.h"

namespace nibble {

inline constexpr uint32_t kPluginAbi = 1;  // changes with the layout of Plugin

struct Plugin {  // what the symbol nibble_plugin returns; the first member never moves
  uint32_t abi;
  const char* version;   // nibble's
  const char* compiler;  // __VERSION__ of the compiler
  Status (*register_methods)();
};

// Loads the library and lets it register its methods; it stays loaded. NotFound: no such file. Unsupported, naming what was found
// and what is wanted: no plug-in, another ABI, version or compiler. Else what register_methods says.
Status LoadPlugin(const std::string& path);

}  // namespace nibble

#define NIBBLE_PLUGIN(register_function)                                                                         \
  extern "C" __attribute__((visibility("default"))) const nibble::Plugin* nibble_plugin() {                      \
    static const nibble::Plugin plugin = {nibble::kPluginAbi, nibble::kVersion, __VERSION__, register_function}; \
    return &plugin;                                                                                              \
  }
