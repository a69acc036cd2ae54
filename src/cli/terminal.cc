// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.h"

#include <unistd.h>

#include <cstdio>

#include "base/log.h"

namespace nibble {
namespace {

bool g_bar_shown = false;

class Bar : public Progress {
 public:
  explicit Bar(bool enabled) : enabled_(enabled) {}
  ~Bar() override { EndProgressLine(); }

  void Update(std::string_view what, int64_t done, int64_t total) override {
    if (!enabled_ || total <= 0) return;
    const auto now = std::chrono::steady_clock::now();
    if (what != what_) {
      what_ = what;
      begin_ = now;
      last_ = {};
    }
    if (now - last_ < std::chrono::milliseconds(100) && done < total) return;
    last_ = now;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const int width = 30, filled = static_cast<int>(done * width / total);
    const std::string bar = std::string(static_cast<size_t>(filled), '#') + std::string(static_cast<size_t>(width - filled), '.');
    const double left = done > 0 ? seconds / static_cast<double>(done) * static_cast<double>(total - done) : 0;
    std::fprintf(stderr, "\r%s [%s] %lld/%lld, %.0f s left \x1b[K", what_.c_str(), bar.c_str(), static_cast<long long>(done),
                 static_cast<long long>(total), left);
    g_bar_shown = true;
  }

 private:
  const bool enabled_;
  std::string what_;
  std::chrono::steady_clock::time_point begin_, last_;
};

}  // namespace

void InstallTerminalLog() {
  SetLogSink([](LogLevel level, const std::string& message) {
    EndProgressLine();
    std::fprintf(stderr, level == LogLevel::kWarning ? "nibble: warning: %s\n" : "nibble: %s\n", message.c_str());
  });
}

std::unique_ptr<Progress> MakeProgressBar() { return std::make_unique<Bar>(isatty(STDERR_FILENO) != 0); }

void EndProgressLine() {
  if (g_bar_shown) std::fprintf(stderr, "\r\x1b[K");
  g_bar_shown = false;
}

bool StdinIsTerminal() { return isatty(STDIN_FILENO) != 0; }
bool StdoutIsTerminal() { return isatty(STDOUT_FILENO) != 0; }

}  // namespace nibble
