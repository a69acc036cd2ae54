// SPDX-License-Identifier: Apache-2.0
// LFM2: gated short convolutions among layers of attention with normed q and k; the config's MLP width is that of an MLP without a
// gate.
#include "models/hybrid.h"

namespace nibble {
namespace {

// Two thirds of the width, times a factor, rounded up: a gated MLP of about as many weights.
Result<int64_t> MlpWidth(const ModelConfig& c) {
  NIBBLE_TRY(int64_t width, JsonInt(c.json, "block_ff_dim", c.inter));
  NIBBLE_TRY(const bool adjust, JsonBool(c.json, "block_auto_adjust_ff_dim", true));
  NIBBLE_TRY(const double factor, JsonNumber(c.json, "block_ffn_dim_multiplier", 1.0));
  NIBBLE_TRY(const int64_t multiple, JsonInt(c.json, "block_multiple_of", 256));
  if (width < 1 || width >= int64_t{1} << 31 || multiple < 1 || multiple > 1 << 20 || !(factor > 0) || factor > 1e3)
    return Corrupt("block_ff_dim {}, block_ffn_dim_multiplier {}, block_multiple_of {}: wanted positive numbers of sane size",
                   width, factor, multiple);
  if (!adjust) return width;
  return RoundUp(static_cast<int64_t>(factor * static_cast<double>(2 * width / 3)), multiple);
}

Result<DecoderOptions> DenseLfm2Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, Lfm2Options(c));
  NIBBLE_TRY_IN(c.where, o.dense_inter, MlpWidth(c));
  return o;
}

}  // namespace

const Architecture* lfm2_architecture() {
  static const Architecture architecture = MakeDecoder<DenseLfm2Options>(
      "lfm2", {"lfm2"}, R"({"rope_theta": 1000000, "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "num_key_value_heads": 8})");
  return &architecture;
}

}  // namespace nibble
