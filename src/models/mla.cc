// SPDX-License-Identifier: Apache-2.0
#include "models/mla.h"

#include <cmath>

namespace nibble {
namespace {

struct Mla {
  int64_t hidden = 0, heads = 0;
  int64_t q_rank = 0, kv_rank = 0;  // q_rank 0: no latent
  int64_t plain = 0, rotated = 0;   // parts of a query's or key's head
  int64_t v_dim = 0;
  float scale = 0;
  bool bias = false;
  RopeSpec rope;
  int64_t dim() const { return plain + rotated; }
  int64_t row() const { return kv_rank + rotated; }  // what the cache keeps of a position
};

struct Projected {
  BufferId q, down, latent;  // down: [kv_rank + rotated], the rotated key in its last columns; latent: its first, after their norm
  int up;                    // the layer that expands the latent
};

// The norms of the latents have an eps of their own, whatever rms_norm_eps says.
GraphBuilder::Norm LatentNorm(const std::string& name) { return {.name = name, .eps = 1e-6f}; }

// Queries of this rank's heads as the latent sees them, then the row that all of them read, as Attention wants it.
GraphBuilder::Qkv SideBySide(GraphBuilder& b, const Mla& m, const Projected& p, const std::string& module) {
  const int64_t heads = m.heads / b.ranks(), q_width = heads * m.row();
  GraphBuilder::Qkv qkv{.buffer = b.NewBuffer(q_width + m.row()),
                        .q_heads = heads,
                        .kv_heads = 1,
                        .dim = m.row(),
                        .v_dim = m.kv_rank,
                        .latent = true,
                        .whole = {.q = m.heads, .kv = 1, .dim = m.row(), .v_dim = m.kv_rank},
                        .module = module};
  b.Latent({.in = p.q, .out = qkv.buffer, .linear = p.up, .values = false, .in_stride = m.dim(), .out_stride = m.row()});
  b.CopyColumns({.in = p.q,
                 .out = qkv.buffer,
                 .in_begin = m.plain,
                 .in_stride = m.dim(),
                 .out_begin = m.kv_rank,
                 .out_stride = m.row(),
                 .blocks = heads,
                 .width = m.rotated});
  b.CopyColumns({.in = p.latent, .out = qkv.buffer, .out_begin = q_width, .width = m.kv_rank});
  b.CopyColumns({.in = p.down, .out = qkv.buffer, .in_begin = m.kv_rank, .out_begin = q_width + m.kv_rank, .width = m.rotated});
  return qkv;
}

Result<BufferId> Attend(GraphBuilder& b, const Mla& m, BufferId in, const std::string& attn) {
  NIBBLE_RETURN_IF_ERROR(b.CheckDivides(m.heads, "attention heads"));
  const LinearPartSpec q_heads{
      .name = attn + (m.q_rank > 0 ? "q_b_proj" : "q_proj"), .n = m.heads * m.dim(), .shard_unit = m.dim()};
  const GraphBuilder::Part kv_down{attn + "kv_a_proj_with_mqa", m.kv_rank + m.rotated, m.bias};
  Projected p;
  if (m.q_rank > 0) {
    const BufferId both = b.Replicated(in, {{attn + "q_a_proj", m.q_rank, m.bias}, kv_down});
    const BufferId latent = b.Columns(both, 0, m.q_rank);
    p.down = b.Columns(both, m.q_rank, kv_down.n);
    p.q = b.ColumnParallel(b.NormOf(latent, LatentNorm(attn + "q_a_layernorm")), {q_heads});
  } else {
    p.down = b.Replicated(in, {kv_down});
    p.q = b.ColumnParallel(in, {q_heads});
  }
  p.latent = b.NormOf(b.Columns(p.down, 0, m.kv_rank), LatentNorm(attn + "kv_a_layernorm"));
  p.up = b.AddLatent(attn + "kv_b_proj", m.heads, m.plain, m.v_dim, m.kv_rank);
  const int rope = b.AddRope(m.rope);
  b.RopeColumns({.buffer = p.q, .rope = rope, .begin = m.plain, .heads = m.heads / b.ranks(), .head_dim = m.dim()});
  b.RopeColumns({.buffer = p.down, .rope = rope, .begin = m.kv_rank, .heads = 1, .head_dim = m.rotated});
  const BufferId seen = b.Attention(SideBySide(b, m, p, attn.substr(0, attn.size() - 1)), {.scale = m.scale});
  const BufferId mixed = b.NewBuffer(m.heads / b.ranks() * m.v_dim);
  b.Latent({.in = seen, .out = mixed, .linear = p.up, .values = true, .in_stride = m.kv_rank, .out_stride = m.v_dim});
  return b.RowParallel(mixed, {attn + "o_proj", m.hidden, m.bias}, m.heads * m.v_dim, m.v_dim);
}

// 1 / sqrt(dim), times the square of yarn's mscale_all_dim: what its attention_factor leaves out.
Result<float> ScoreScale(const ModelConfig& c, int64_t dim) {
  double scale = 1 / std::sqrt(static_cast<double>(dim));
  const Json* rope = JsonFind(c.json, "rope_scaling");
  if (!rope) rope = JsonFind(c.json, "rope_parameters");
  if (!rope) return static_cast<float>(scale);
  NIBBLE_TRY(const std::string old_kind, JsonString(*rope, "type", "default"));
  NIBBLE_TRY(const std::string kind, JsonString(*rope, "rope_type", old_kind));
  NIBBLE_TRY(const double all_dim, JsonNumber(*rope, "mscale_all_dim", 0.0));
  if (kind != "default" && all_dim != 0) {
    NIBBLE_TRY(const double factor, JsonNumber(*rope, "factor"));
    const double mscale = factor <= 1 ? 1 : 0.1 * all_dim * std::log(factor) + 1;
    scale *= mscale * mscale;
  }
  return static_cast<float>(scale);
}

Result<Mla> ReadMla(const ModelConfig& c, const MlaDefaults& defaults) {
  Mla m{.hidden = c.hidden, .heads = c.heads, .bias = c.attention_bias};
  NIBBLE_TRY(m.q_rank, JsonInt(c.json, "q_lora_rank", c.json.contains("q_lora_rank") ? 0 : defaults.q_rank));
  const auto size = [&](const char* key, int64_t fallback) -> Result<int64_t> {
    NIBBLE_TRY(const int64_t value, JsonInt(c.json, key, fallback));
    if (value < 1 || value > (int64_t{1} << 20)) return Corrupt("{} is {}, wanted 1..{}", key, value, int64_t{1} << 20);
    return value;
  };
  NIBBLE_TRY(m.kv_rank, size("kv_lora_rank", 512));
  NIBBLE_TRY(m.plain, size("qk_nope_head_dim", 128));
  NIBBLE_TRY(m.rotated, size("qk_rope_head_dim", 64));
  NIBBLE_TRY(m.v_dim, size("v_head_dim", 128));
  if (m.q_rank < 0 || m.q_rank > (int64_t{1} << 20))
    return Corrupt("q_lora_rank is {}, wanted a positive number or null", m.q_rank);
  NIBBLE_TRY(m.scale, ScoreScale(c, m.dim()));
  return m;
}

// norm -> the projections down and, through the latents' norms, up again.
std::vector<FoldPoint> Folds(const Mla& m, const std::string& layer) {
  const std::string attn = layer + "self_attn.";
  std::vector<FoldPoint> points = {{attn + "kv_a_layernorm", {attn + "kv_b_proj"}}};
  if (m.q_rank > 0) points.push_back({attn + "q_a_layernorm", {attn + "q_b_proj"}});
  points.push_back({layer + "input_layernorm", {attn + (m.q_rank > 0 ? "q_a_proj" : "q_proj"), attn + "kv_a_proj_with_mqa"}});
  return points;
}

}  // namespace

Result<DecoderOptions> MlaOptions(const ModelConfig& config, const MlaDefaults& defaults) {
  auto mla = ReadMla(config, defaults);
  if (!mla) return tl::unexpected(std::move(mla.error()).In(config.where));
  NIBBLE_TRY_IN(config.where, const bool interleaved, JsonBool(config.json, "rope_interleave", defaults.interleaved));
  ModelConfig c = config;
  c.head_dim = mla->rotated;  // the rope's
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  NIBBLE_TRY(mla->rope, RopeFromConfig(c, mla->rotated, {.interleaved = interleaved}));
  o.mixer = [m = *mla](GraphBuilder& b, BufferId in, int64_t, const std::string& layer) {
    return Attend(b, m, in, layer + "self_attn.");
  };
  o.mixer_folds = [m = *mla](const std::string& layer) { return Folds(m, layer); };
  return o;
}

}  // namespace nibble
