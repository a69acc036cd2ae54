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

// Which layers convolve where layer_types does not say: those that full_attn_idxs does not name.
std::vector<bool> Unnamed(const ModelConfig& c) {
  const Json* list = JsonFind(c.json, "full_attn_idxs");
  std::vector<bool> conv(static_cast<size_t>(c.layers), list && list->is_array());
  if (list && list->is_array())
    for (const Json& layer : *list)
      if (layer.is_number_integer() && layer.get<int64_t>() >= 0 && layer.get<int64_t>() < c.layers)
        conv[layer.get<size_t>()] = false;
  return conv;
}

Result<DecoderOptions> Options(const ModelConfig& c) {
  const std::vector<bool> unnamed = Unnamed(c);
  NIBBLE_TRY(const std::vector<bool> conv,
             LayersOfKind(c, "conv", [&](int64_t layer) { return unnamed[static_cast<size_t>(layer)]; }));
  NIBBLE_TRY_IN(c.where, const int64_t kernel, JsonInt(c.json, "conv_L_cache", 3));
  NIBBLE_TRY_IN(c.where, const bool bias, JsonBool(c.json, "conv_bias", false));
  if (kernel < 1 || kernel > 1024) return Corrupt("{}: conv_L_cache is {}, wanted 1..1024", c.where, kernel);
  NIBBLE_TRY(DecoderOptions o, HybridOptions(c));
  NIBBLE_TRY_IN(c.where, o.dense_inter, MlpWidth(c));
  o.qk_norm = DecoderOptions::kHead;
  o.names.final_norm = "model.embedding_norm";
  o.names.attn_in = "operator_norm";
  o.names.mlp_in = "ffn_norm";
  o.names.o = "out_proj";
  o.names.q_norm = "q_layernorm";
  o.names.k_norm = "k_layernorm";
  o.names.mlp = "feed_forward.";
  o.names.gate = "w1";
  o.names.up = "w3";
  o.names.down = "w2";
  o.mixer = [=, channels = c.hidden](GraphBuilder& b, BufferId in, int64_t layer, const std::string& prefix) -> Result<BufferId> {
    if (!conv[static_cast<size_t>(layer)]) return -1;
    return b.GatedShortConv(in, {.prefix = prefix + "conv.", .channels = channels, .kernel = kernel, .bias = bias});
  };
  o.mixer_modules = [=](int64_t layer) {
    return conv[static_cast<size_t>(layer)] ? std::vector<std::string>{"conv.in_proj"} : std::vector<std::string>{};
  };
  return o;
}

}  // namespace

const Architecture* lfm2_architecture() {
  static const Architecture architecture = MakeDecoder<Options>(
      "lfm2", {"lfm2"}, R"({"rope_theta": 1000000, "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "num_key_value_heads": 8})");
  return &architecture;
}

}  // namespace nibble
