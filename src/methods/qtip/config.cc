// SPDX-License-Identifier: Apache-2.0
#include "methods/qtip/config.h"

#include "methods/registry.h"

namespace nibble {
namespace {

Result<int64_t> InRange(const Json& json, const std::string& where, const char* key, int64_t fallback, int64_t low, int64_t high) {
  NIBBLE_TRY_IN(where, const int64_t value, JsonInt(json, key, fallback));
  if (value >= low && value <= high) return value;
  return Unsupported("{}: {} is {}; readable are {} to {}", where, key, value, low, high);
}

}  // namespace

Result<QtipConfig> QtipConfig::Parse(const Json& json, const std::string& where) {
  NIBBLE_RETURN_IF_ERROR(
      CheckKeys(json, where, {"quant_method", "codebook", "L", "K", "V", "tlut_bits", "decode_mode", "td_x", "td_y", "K_v_proj"},
                {"codebook_version", "split_for_tp", "skip_list", "fused", "rescale_WH", "model_version", "lora_rank"}));
  QtipConfig config;
  NIBBLE_TRY_IN(where, const std::string codebook, JsonString(json, "codebook", "bitshift"));
  if (codebook != "bitshift") return Unsupported("{}: codebook \"{}\"; readable is bitshift", where, codebook);
  NIBBLE_RETURN_IF_ERROR(InRange(json, where, "L", 16, 16, 16));
  NIBBLE_RETURN_IF_ERROR(InRange(json, where, "td_x", 16, 16, 16));
  NIBBLE_RETURN_IF_ERROR(InRange(json, where, "td_y", 16, 16, 16));
  NIBBLE_TRY(const int64_t bits, InRange(json, where, "K", 2, 1, 8));
  NIBBLE_TRY(const int64_t vec, InRange(json, where, "V", 1, 1, 2));
  NIBBLE_TRY(const int64_t table, InRange(json, where, "tlut_bits", 0, 0, 16));
  NIBBLE_TRY_IN(where, const std::string mode, JsonString(json, "decode_mode", "quantlut_sym"));
  const auto code = ParseTrellisCode(mode);
  if (!code || code == TrellisCode::kMcg || code == TrellisCode::kMul1)
    return Unsupported("{}: decode_mode \"{}\"; readable are 1mad, 2mad, 3inst, lut, quantlut, quantlut_sym", where, mode);
  config = {*code, static_cast<int>(bits), static_cast<int>(vec), static_cast<int>(table), TrellisOrder::kPlain};
  const bool computed = *code <= TrellisCode::k3Inst;
  if (computed && vec != 1) return Corrupt("{}: decode_mode {} gives one value a step, but V is {}", where, mode, vec);
  if (*code == TrellisCode::kQuantLutSym && vec != 2)
    return Corrupt("{}: decode_mode {} gives two values a step, but V is {}", where, mode, vec);
  if (*code == TrellisCode::kLut && table != 16) return Corrupt("{}: decode_mode lut wants tlut_bits 16, found {}", where, table);
  if (!computed && table == 0) return Corrupt("{}: decode_mode {} wants tlut_bits, found none", where, mode);
  if (bits * vec > 16) return Corrupt("{}: K {} and V {}: a step of more bits than the window has", where, bits, vec);
  // QTIP's fast kernel has bytes and elements in an order of its own, and packs for it whenever it could run.
  if (*code == TrellisCode::kQuantLutSym && table == 9 && bits >= 2 && bits <= 4) config.order = TrellisOrder::kKernel;
  return config;
}

}  // namespace nibble
