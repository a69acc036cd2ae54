// SPDX-License-Identifier: Apache-2.0
#include "eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/cpu/ops/ops.h"

namespace nibble {
namespace {

constexpr int64_t kGroupBytes = int64_t{128} << 20;  // logits of the other model kept at once

struct Totals {
  std::vector<float> nll, kl;
  int64_t agreed = 0;
};

void Score(const float* logits, int64_t vocab, int32_t target, const float* other, const CpuOps& ops, Totals* totals) {
  const double lse = ops.log_sum_exp(logits, vocab);
  totals->nll.push_back(static_cast<float>(lse - static_cast<double>(logits[target])));
  if (!other) return;
  totals->kl.push_back(
      static_cast<float>(std::max(0.0, ops.kl_divergence(other, ops.log_sum_exp(other, vocab), logits, lse, vocab))));
  totals->agreed += std::max_element(logits, logits + vocab) - logits == std::max_element(other, other + vocab) - other;
}

double Mean(const std::vector<float>& values) {
  double sum = 0;
  for (const float v : values) sum += static_cast<double>(v);
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

double StandardError(const std::vector<float>& values, double mean) {
  if (values.size() < 2) return 0;
  double squares = 0;
  for (const float v : values) squares += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / (n - 1) / n);
}

// The value below which a share q of the sorted values lies, linearly interpolated.
double Quantile(const std::vector<float>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return static_cast<double>(sorted[low]) +
         (at - static_cast<double>(low)) * (static_cast<double>(sorted[high]) - static_cast<double>(sorted[low]));
}

Divergence SummarizeDivergence(std::vector<float> kl, int64_t agreed) {
  Divergence d;
  d.mean = Mean(kl);
  d.mean_stderr = StandardError(kl, d.mean);
  d.top1_agreement = static_cast<double>(agreed) / static_cast<double>(kl.size());
  std::sort(kl.begin(), kl.end());
  d.median = Quantile(kl, 0.5);
  d.p99 = Quantile(kl, 0.99);
  d.max = static_cast<double>(kl.back());
  return d;
}

std::vector<std::vector<int32_t>> Inputs(const std::vector<EvalWindow>& windows, size_t begin, size_t end) {
  std::vector<std::vector<int32_t>> rows;
  for (size_t i = begin; i < end; ++i) rows.push_back(windows[i].input);
  return rows;
}

}  // namespace

Result<std::vector<EvalWindow>> MakeWindows(const std::vector<int32_t>& text, const EvalOptions& options) {
  if (options.context < 2) return Usage("--context is {}, wanted 2 or more", options.context);
  const auto size = static_cast<size_t>(options.context);
  std::vector<EvalWindow> windows;
  for (size_t begin = 0; begin + size <= text.size(); begin += size) {
    if (options.max_windows > 0 && static_cast<int64_t>(windows.size()) >= options.max_windows) break;
    const std::vector<int32_t> tokens(text.begin() + static_cast<std::ptrdiff_t>(begin),
                                      text.begin() + static_cast<std::ptrdiff_t>(begin + size));
    EvalWindow window;
    if (options.protocol == EvalProtocol::kLlamaCpp) {
      window.input = tokens;
      if (options.bos >= 0) window.input[0] = options.bos;
      window.first_row = static_cast<int64_t>(size / 2);
      window.targets.assign(tokens.begin() + window.first_row + 1, tokens.end());
      window.input.pop_back();
    } else {
      if (options.bos >= 0) window.input.push_back(options.bos);
      window.input.insert(window.input.end(), tokens.begin(), tokens.end() - 1);
      window.targets.assign(tokens.begin() + (options.bos >= 0 ? 0 : 1), tokens.end());
    }
    windows.push_back(std::move(window));
  }
  if (windows.empty())
    return Usage("the text has {} tokens, one window needs {}; use a longer text or a smaller --context", text.size(), size);
  return windows;
}

Status ForEachLogits(Engine& engine, const std::vector<std::vector<int32_t>>& rows,
                     const std::function<void(int64_t, int64_t, const float*)>& visit) {
  for (size_t row = 0; row < rows.size(); ++row) {
    Engine::Request request{.prompt = rows[row]};
    request.on_logits = [&visit, row](int64_t position, const float* logits) {
      visit(static_cast<int64_t>(row), position, logits);
    };
    NIBBLE_TRY_IN(fmt::format("row {}", row), [[maybe_unused]] const SequenceId id, engine.Add(std::move(request)));
  }
  return engine.RunUntilIdle();
}

Result<EvalResult> Evaluate(Engine& engine, Engine* other, const std::vector<EvalWindow>& windows, Progress* progress) {
  if (other && other->vocab() != engine.vocab())
    return Usage("{} has a vocabulary of {}, {} of {}; KL divergence needs the same one", engine.checkpoint().path(),
                 engine.vocab(), other->checkpoint().path(), other->vocab());
  const int64_t vocab = engine.vocab();
  const CpuOps& ops = OpsFor(Cpu().isa);
  const auto rows_per_window = static_cast<int64_t>(windows[0].input.size());
  // Without another model nothing is kept, and a group only bounds the queue.
  const auto group = static_cast<size_t>(std::max<int64_t>(1, other ? kGroupBytes / (rows_per_window * vocab * 4) : 64));
  Totals totals;
  double seconds = 0;
  std::vector<float> kept;
  for (size_t begin = 0; begin < windows.size(); begin += group) {
    const size_t end = std::min(begin + group, windows.size());
    const auto inputs = Inputs(windows, begin, end);
    const auto slot = [&](int64_t row, int64_t position) { return kept.data() + (row * rows_per_window + position) * vocab; };
    if (other) {
      kept.resize((end - begin) * static_cast<size_t>(rows_per_window * vocab));
      NIBBLE_RETURN_IF_ERROR(ForEachLogits(*other, inputs, [&](int64_t row, int64_t position, const float* logits) {
        std::copy_n(logits, vocab, slot(row, position));
      }));
    }
    const auto start = std::chrono::steady_clock::now();
    NIBBLE_RETURN_IF_ERROR(ForEachLogits(engine, inputs, [&](int64_t row, int64_t position, const float* logits) {
      const EvalWindow& window = windows[begin + static_cast<size_t>(row)];
      const int64_t index = position - window.first_row;
      if (index < 0) return;
      Score(logits, vocab, window.targets[static_cast<size_t>(index)], other ? slot(row, position) : nullptr, ops, &totals);
    }));
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (progress) progress->Update("windows", static_cast<int64_t>(end), static_cast<int64_t>(windows.size()));
  }
  EvalResult result;
  result.mean_nll = Mean(totals.nll);
  result.perplexity = std::exp(result.mean_nll);
  result.perplexity_stderr = result.perplexity * StandardError(totals.nll, result.mean_nll);
  result.tokens = static_cast<int64_t>(totals.nll.size());
  result.seconds = seconds;
  if (other) result.against = SummarizeDivergence(std::move(totals.kl), totals.agreed);
  return result;
}

}  // namespace nibble
