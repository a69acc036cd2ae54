// SPDX-License-Identifier: Apache-2.0
#include "cli/command_line.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>

#include <algorithm>

#include "base/log.h"
#include "base/progress.h"
#include "base/version.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "io/mapped_file.h"
#include "methods/plugin.h"

namespace nibble {
namespace {

void OnInterrupt(int) {
  // A second Ctrl-C kills: the first one asks for an orderly end.
  if (StopRequested().exchange(true)) std::_Exit(130);
}

// A mapped file that somebody shortens gives SIGBUS at the next touch, in any thread. Only async-signal-safe calls from here on.
void OnBusError(int signal, siginfo_t* info, void*) {
  const MappedFile* file = MappedFile::Containing(info->si_addr);
  if (!file) {
    std::signal(signal, SIG_DFL);  // not ours: the fault comes again and ends the process as it would have
    return;
  }
  const auto say = [](const char* text, size_t size) { [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, size); };
  constexpr std::string_view kBefore = "\nnibble: io: ";
  constexpr std::string_view kAfter =
      ": a part of this file is gone: it was shortened or its disk failed while nibble was reading it; programs that change a "
      "model "
      "must write a new file and rename it; start nibble again\n";
  say(kBefore.data(), kBefore.size());
  say(file->path().data(), file->path().size());
  say(kAfter.data(), kAfter.size());
  _exit(5);  // ExitCode(Code::kIo)
}

void InstallBusErrorHandler() {
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

std::vector<const Command*> SortedCommands() {
  std::vector<const Command*> commands = CommandTable();
  std::sort(commands.begin(), commands.end(),
            [](const Command* a, const Command* b) { return a->order != b->order ? a->order < b->order : a->name < b->name; });
  return commands;
}

}  // namespace

int RunCommandLine(int argc, const char* const* argv) {
  InstallTerminalLog();
  std::signal(SIGINT, OnInterrupt);
  std::signal(SIGTERM, OnInterrupt);
  std::signal(SIGPIPE, SIG_IGN);
  InstallBusErrorHandler();

  CLI::App app("nibble: load, run, make and measure quantized language models", "nibble");
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.fallthrough();
  std::vector<std::string> plugins;
  app.add_option("--plugin", plugins, "shared library that adds checkpoint methods (may be repeated)")->allow_extra_args(false);
  app.footer("example: nibble run models/tales-5m -p 'Once upon a time'\n'nibble COMMAND --help' shows the options of a command.");
  std::vector<std::pair<CLI::App*, std::function<Status()>>> actions;
  for (const Command* command : SortedCommands()) {
    CLI::App* sub = app.add_subcommand(std::string(command->name), std::string(command->summary));
    sub->footer("example: " + std::string(command->example));
    actions.emplace_back(sub, command->setup(*sub));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    std::fprintf(stderr, "nibble: usage: %s\n(run 'nibble %s--help')\n", e.what(),
                 argc > 1 && argv[1][0] != '-' ? (std::string(argv[1]) + " ").c_str() : "");
    return ExitCode(Code::kUsage);
  }
  const auto run = [&](const std::function<Status()>& action) -> Status {
    for (const std::string& plugin : plugins) NIBBLE_RETURN_IF_ERROR(LoadPlugin(plugin));
    return action();
  };
  for (auto& [sub, action] : actions) {
    if (!sub->parsed()) continue;
    const Status status = run(action);
    std::fflush(stdout);
    if (status) return 0;
    EndProgressLine();
    std::fprintf(stderr, "nibble: %s\n", status.error().ToString().c_str());
    return ExitCode(status.error().code);
  }
  return ExitCode(Code::kUsage);
}

}  // namespace nibble
