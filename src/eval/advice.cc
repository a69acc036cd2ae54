// SPDX-License-Identifier: Apache-2.0
#include "eval/advice.h"

#include <algorithm>

namespace nibble {
namespace {

constexpr MeasuredFormat kMeasured[] = {
#include "eval/advice_rows.inc"
};

std::string Reason(const Advice& advice, double max_kl) {
  if (advice.chosen < 0) {
    const AdviceRow& least = advice.rows.front();
    return fmt::format("nothing fits: {} needs {} bytes even so; use a smaller --context or --batch, or a smaller model",
                       least.format.name, least.total_bytes);
  }
  const AdviceRow& row = advice.rows[static_cast<size_t>(advice.chosen)];
  if (!row.good_enough)
    return fmt::format("{} is the best that fits; its KL of {:.1e} nats is above the {:.1e} asked for", row.format.name,
                       row.format.kl, max_kl);
  return fmt::format(
      "{} has the fewest bits of those that fit and cost at most {:.1e} nats; decoding reads every weight once a token, so fewer "
      "bits "
      "are faster",
      row.format.name, max_kl);
}

}  // namespace

const std::vector<MeasuredFormat>& MeasuredFormats() {
  static const std::vector<MeasuredFormat> rows = [] {
    std::vector<MeasuredFormat> all(std::begin(kMeasured), std::end(kMeasured));
    all.push_back({"float", 16, 0});
    return all;
  }();
  return rows;
}

Result<Advice> Advise(const Checkpoint& checkpoint, const ModelConfig& config, const PlanOptions& options, int64_t available,
                      double max_kl) {
  Advice advice;
  double best = 1e30;  // smallest KL of the formats with fewer bits
  for (const MeasuredFormat& format : MeasuredFormats()) {
    PlanOptions with = options;
    with.linear_bits = format.bits;
    NIBBLE_TRY(const MemoryPlan plan, PlanMemory(checkpoint, config, with));
    advice.kv_bytes = plan.kv_bytes;
    advice.scratch_bytes = plan.scratch_bytes;
    advice.rows.push_back({.format = format,
                           .weights_bytes = plan.weights_bytes,
                           .total_bytes = plan.total(),
                           .fits = plan.total() <= available,
                           .good_enough = format.kl <= max_kl,
                           .dominated = format.kl >= best});
    best = std::min(best, format.kl);
  }
  const auto find = [&](const auto& better) {
    for (size_t i = 0; i < advice.rows.size(); ++i)
      if (advice.rows[i].fits && (advice.chosen < 0 || better(advice.rows[i], advice.rows[static_cast<size_t>(advice.chosen)])))
        advice.chosen = static_cast<int>(i);
  };
  find([](const AdviceRow& a, const AdviceRow& b) {
    if (a.good_enough != b.good_enough) return a.good_enough;
    return a.good_enough ? a.format.bits < b.format.bits : a.format.kl < b.format.kl;
  });
  advice.reason = Reason(advice, max_kl);
  return advice;
}

}  // namespace nibble
