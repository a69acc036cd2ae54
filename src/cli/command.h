// SPDX-License-Identifier: Apache-2.0
// A command of the program: one file cmd_<name>.cc that defines `const Command* <name>_command()`, found by the build.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace nibble {

struct Command {
  std::string_view name;
  std::string_view summary;  // one line of `nibble --help`
  std::string_view example;  // shown at the end of the command's own help
  int order = 100;           // place in `nibble --help`
  // Declares options on `app` and returns what to run once they are parsed. A failed Status becomes the message and exit code.
  std::function<Status()> (*setup)(CLI::App& app);
};

const std::vector<const Command*>& CommandTable();  // generated

}  // namespace nibble
