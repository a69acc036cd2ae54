// SPDX-License-Identifier: Apache-2.0
// What goes to stderr: warnings and progress bars. Bars appear only when stderr is a terminal.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/progress.h"

namespace nibble {

// Sends the library's log to stderr ("nibble: warning: ...").
void InstallTerminalLog();

// A bar with the time left; silent when stderr is no terminal.
std::unique_ptr<Progress> MakeProgressBar();
// Clears a bar that is being drawn, so that other text starts on a fresh line.
void EndProgressLine();

bool StdinIsTerminal();
bool StdoutIsTerminal();

}  // namespace nibble
