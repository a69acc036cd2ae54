// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <exception>
#include <new>

#include "cli/command_line.h"

int main(int argc, char** argv) {
  try {
    return nibble::RunCommandLine(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr,
                 "nibble: out of resources: the system gave no more memory; try a smaller --context or another quantization\n");
    return 5;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "nibble bug: uncaught exception: %s\n", e.what());
    return 70;
  }
}
