// SPDX-License-Identifier: Apache-2.0
#include "methods/unread.h"

#include <fmt/core.h>

#include <algorithm>

namespace nibble {
namespace {

struct Unread {
  std::string_view name, who, advice;
};
constexpr std::string_view kFromFloat =
    "quantize the float model with nibble, or take a checkpoint of another method ('nibble methods' lists them)";
constexpr std::string_view kOnline = "it quantizes a float model while loading and keeps no files: give the float model";
constexpr Unread kUnread[] = {
    {"spqr",
     "SpQR's authors and transformers' SpQRConfig; its bytes (bilevel codes with sparse outliers) are published only as code",
     kFromFloat},
    {"higgs", "transformers' HiggsConfig with FLUTE; the codes are permuted for the kernel of the GPU that made them", kFromFloat},
    {"eetq", "EETQ; int8 permuted for its CUTLASS kernel", "any int8 weight-only checkpoint holds the same numbers"},
    {"quip", "QuIP and QuIP#; lattice codes", kFromFloat},
    {"quip_sharp", "QuIP#; lattice codes", kFromFloat},
    {"sinq", "SINQ", kFromFloat},
    {"bitblas", "BitBLAS; codes in the order of a compiled kernel", "the GPTQ or AWQ checkpoint that it was made from"},
    {"gptq_bitblas", "BitBLAS; codes in the order of a compiled kernel", "the GPTQ checkpoint that it was made from"},
    {"neuron_quant", "AWS Neuron", kOnline},
    {"tpu_int8", "vLLM on TPUs", kOnline},
    {"rtn", "vLLM", kOnline},
    {"deepspeedfp", "DeepSpeed", kOnline},
    {"experts_int8", "vLLM", kOnline},
    {"ptpc_fp8", "vLLM", kOnline},
    {"humming", "vLLM's generic kernels; the files are of another method", "name that method in quant_method"},
    {"ipex", "Intel's extension; the files are GPTQ or AWQ", "set quant_method to gptq or awq"},
    {"svdquant_nunchaku", "Nunchaku; diffusion models", kFromFloat},
};

}  // namespace

std::string UnreadMethod(std::string_view quant_method) {
  const auto found = std::find_if(std::begin(kUnread), std::end(kUnread), [&](const Unread& u) { return u.name == quant_method; });
  if (found == std::end(kUnread)) return "";
  return fmt::format("written by {}; nibble does not read it: {}", found->who, found->advice);
}

}  // namespace nibble
