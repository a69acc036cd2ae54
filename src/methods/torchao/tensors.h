// SPDX-License-Identifier: Apache-2.0
// The tensor subclasses of torchao as stored weights.
#pragma once

#include "methods/method.h"
#include "methods/torchao/config.h"

namespace nibble {

// Tensor `attribute` of parameter "weight": "<module>._weight_<attribute>".
std::vector<ParamDecl> TorchaoParams();
Result<LinearPart> MakeTorchaoWeight(const BoundParams& params, const TorchaoTensor& tensor);
// "Int4Tensor, Int8Tensor, ...": for messages.
std::string TorchaoTypes();

}  // namespace nibble
