// SPDX-License-Identifier: Apache-2.0
// What one rendering may use. Templates come with models, so they are untrusted: every loop, copy and comparison is paid for here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"

namespace nibble::jinja {

struct Limits {
  int64_t steps = 20'000'000;                  // evaluated nodes, loop turns; linear work counts one step for 64 bytes
  int64_t allocated_bytes = int64_t{1} << 30;  // over the whole rendering, so also a bound of what lives at once
  int64_t output_bytes = int64_t{64} << 20;
  int depth = 800;  // nested evaluations; macros may call themselves
};

class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits) {}

  // One step, and `bytes` of linear work.
  Status Spend(size_t bytes = 0) {
    steps_ += 1 + static_cast<int64_t>(bytes / 64);
    if (steps_ <= limits_.steps) return {};
    return Fail(Code::kResourceExhausted, "the template ran longer than {} steps", limits_.steps);
  }
  // Before memory of this size is allocated.
  Status Allocate(size_t bytes) {
    NIBBLE_RETURN_IF_ERROR(Spend(bytes));
    allocated_ += static_cast<int64_t>(bytes);
    if (allocated_ <= limits_.allocated_bytes) return {};
    return Fail(Code::kResourceExhausted, "the template made more than {} bytes of values", limits_.allocated_bytes);
  }
  Status CheckOutput(size_t bytes) const {
    if (static_cast<int64_t>(bytes) <= limits_.output_bytes) return {};
    return Fail(Code::kResourceExhausted, "the rendered text is over {} bytes", limits_.output_bytes);
  }
  const Limits& limits() const { return limits_; }

 private:
  const Limits limits_;
  int64_t steps_ = 0, allocated_ = 0;
};

}  // namespace nibble::jinja
