// SPDX-License-Identifier: Apache-2.0
// Float checkpoints quantized while they are read (--quantization NAME): the configuration that stands for it in reports and plans.
#pragma once

#include <memory>

#include "formats/online.h"
#include "methods/method.h"

namespace nibble {

// Reads every layer as `source` does (it reads floats) and says that linear layers and experts become `format`.
std::unique_ptr<QuantizationConfig> MakeOnlineConfig(const OnlineFormat& format, std::unique_ptr<QuantizationConfig> source);

// Bits per weight of a matrix of k columns, scales counted.
double OnlineBits(const OnlineFormat& format, int64_t k);

// What may be asked of a checkpoint whose method is `own`: null when `name` is that method itself (nothing to do), else the format.
// Usage errors: a name that is none; a checkpoint that is quantized already, naming both.
Result<const OnlineFormat*> ChooseOnlineFormat(const std::string& name, const QuantizationConfig& own, const std::string& path);

}  // namespace nibble
