// SPDX-License-Identifier: Apache-2.0
// Which modules are quantized, and how: the scheme, exceptions and sizes against the list of modules. No weights are read.
#pragma once

#include <vector>

#include "quantizers/pipeline.h"
#include "quantizers/source_model.h"

namespace nibble {

struct PlannedModule {
  SourceModule source;
  WeightScheme weights;
};

struct QuantizePlan {
  std::vector<PlannedModule> quantized;
  std::vector<SourceModule> kept;   // everything else
  std::vector<std::string> ignore;  // linear modules of `kept`, for the config
};

// Usage errors: an expression of options.ignore that matches nothing; a group size that does not divide k, naming module, k and
// group, unless options.ragged says what to do; nothing left to quantize.
Result<QuantizePlan> PlanQuantization(const SourceModel& model, const QuantizeOptions& options);

}  // namespace nibble
