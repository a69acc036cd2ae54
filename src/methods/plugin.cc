// SPDX-License-Identifier: Apache-2.0
#include "methods/plugin.h"

#include <dlfcn.h>

#include <filesystem>
#include <string_view>

namespace nibble {

Status LoadPlugin(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return NotFound("--plugin {}: no such file", path);
  // Without a slash dlopen would search the system's folders.
  const std::string file = path.find('/') == std::string::npos ? "./" + path : path;
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return Unsupported("--plugin {}: {}; build it with the headers of nibble {} and the compiler that built nibble ({})", path,
                       dlerror(), kVersion, __VERSION__);
  const auto refuse = [&](Status why) {
    dlclose(library);
    return why;
  };
  void* const symbol = dlsym(library, "nibble_plugin");
  if (!symbol) return refuse(Unsupported("--plugin {}: no symbol nibble_plugin; a plug-in has one NIBBLE_PLUGIN(function)", path));
  const Plugin& plugin = *reinterpret_cast<const Plugin* (*)()>(symbol)();
  if (plugin.abi != kPluginAbi)
    return refuse(
        Unsupported("--plugin {}: made for plug-in ABI {}, this nibble has {}; build it again", path, plugin.abi, kPluginAbi));
  if (std::string_view(plugin.version) != kVersion)
    return refuse(Unsupported("--plugin {}: made for nibble {}, this is {}; build it again", path, plugin.version, kVersion));
  if (std::string_view(plugin.compiler) != __VERSION__)
    return refuse(Unsupported("--plugin {}: made by compiler {}, nibble by {}; build both with one compiler", path, plugin.compiler,
                              __VERSION__));
  if (Status done = plugin.register_methods(); !done) return refuse(std::move(done));
  return {};
}

}  // namespace nibble
