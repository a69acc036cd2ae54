// SPDX-License-Identifier: Apache-2.0
// The program but for main, apart from command.h since main needs nothing of CLI11.
#pragma once

namespace nibble {

// Parses and runs; returns the exit code. Everything main does, callable from tests.
int RunCommandLine(int argc, const char* const* argv);

}  // namespace nibble
