// SPDX-License-Identifier: Apache-2.0
// The builder's blocks around a rewritten state.
#include "base/math.h"
#include "graph/builder.h"

namespace nibble {

int GraphBuilder::NewState(const LayerState& state) {
  graph_.states.push_back(state);
  graph_.attention_modules.emplace_back();
  return static_cast<int>(graph_.states.size()) - 1;
}

BufferId GraphBuilder::NewConvolution(ShortConvOp op, const std::string& module, int64_t channels_of_all, bool bias) {
  int64_t width = 0;
  for (const Range& range : op.channels) width += range.size();
  op.weight = NewVector(module + ".weight", channels_of_all * op.kernel, false);
  if (bias) op.bias = NewVector(module + ".bias", channels_of_all, false);
  op.layer = NewState({.kind = StateKind::kConvolution, .heads = 1, .k_dim = op.kernel - 1, .v_dim = width});
  op.out = NewBuffer(width);
  Append(op, module);
  return op.out;
}

BufferId GraphBuilder::GatedShortConv(BufferId in, const ShortConv& c) {
  const Range mine = SplitRange(c.channels, graph_.rank, graph_.ranks);
  const std::string fused = c.prefix + "in_proj";
  std::vector<LinearPartSpec> parts;
  for (const char* part : {"_b", "_c", "_x"})
    parts.push_back({.name = fused + part,
                     .n = c.channels,
                     .fused_name = fused,
                     .fused_row = static_cast<int64_t>(parts.size()) * c.channels,
                     .fused_n = 3 * c.channels,
                     .bias = c.bias});
  const BufferId bcx = ColumnParallel(in, std::move(parts));
  ShortConvOp op{.in = bcx, .begin = 2 * mine.size(), .kernel = c.kernel, .channels = {mine}, .before = 0, .after = mine.size()};
  const BufferId mixed = NewConvolution(op, c.prefix + "conv", c.channels, c.bias);
  return RowParallel(mixed, {c.prefix + "out_proj", graph_.buffers[static_cast<size_t>(in)].width, c.bias}, c.channels, 1);
}

namespace {

// The rows of q, k, v, z, b, a: in two modules by key head, or in four as they stand.
std::vector<LinearPartSpec> DeltaProjections(const GraphBuilder::DeltaNet& d) {
  const int64_t ratio = d.v_heads / d.k_heads, k_rows = d.k_heads * d.k_dim, v_rows = d.v_heads * d.v_dim;
  std::vector<LinearPartSpec> parts;
  // block: rows of one key head; first: where they begin, of its rows or of the module's.
  const auto add = [&](const std::string& name, int64_t rows, int64_t unit, const std::string& fused, int64_t fused_rows,
                       int64_t first_of_head, int64_t first) {
    LinearPartSpec part{.name = d.prefix + name, .n = rows, .shard_unit = unit};
    if (!fused.empty()) {
      part.fused_name = d.prefix + fused;
      part.fused_n = fused_rows;
      part.fused_row = d.by_key_head ? first_of_head : first;
      if (d.by_key_head) {
        part.fused_block = rows / d.k_heads;
        part.fused_stride = fused_rows / d.k_heads;
      }
    }
    parts.push_back(std::move(part));
  };
  const std::string qkv = d.by_key_head ? "in_proj_qkvz" : "in_proj_qkv", ba = d.by_key_head ? "in_proj_ba" : "";
  const int64_t qkv_rows = 2 * k_rows + v_rows + (d.by_key_head ? v_rows : 0), ba_rows = 2 * d.v_heads;
  add("in_proj_q", k_rows, d.k_dim, qkv, qkv_rows, 0, 0);
  add("in_proj_k", k_rows, d.k_dim, qkv, qkv_rows, d.k_dim, k_rows);
  add("in_proj_v", v_rows, ratio * d.v_dim, qkv, qkv_rows, 2 * d.k_dim, 2 * k_rows);
  add("in_proj_z", v_rows, ratio * d.v_dim, d.by_key_head ? qkv : "", qkv_rows, 2 * d.k_dim + ratio * d.v_dim, 0);
  add("in_proj_b", d.v_heads, ratio, ba, ba_rows, 0, 0);
  add("in_proj_a", d.v_heads, ratio, ba, ba_rows, ratio, 0);
  return parts;
}

}  // namespace

BufferId GraphBuilder::GatedDeltaNet(BufferId in, const DeltaNet& d) {
  const int64_t k_heads = Local(d.k_heads, "key heads of linear attention"), v_heads = d.v_heads / d.k_heads * k_heads;
  const int64_t k_rows = k_heads * d.k_dim, v_rows = v_heads * d.v_dim, all_k = d.k_heads * d.k_dim, all_v = d.v_heads * d.v_dim;
  const int64_t k_first = graph_.rank * k_rows, v_first = graph_.rank * v_rows;
  const BufferId x = ColumnParallel(in, DeltaProjections(d));
  ShortConvOp conv{.in = x, .begin = 0, .kernel = d.kernel, .silu = true};
  conv.channels = {{k_first, k_first + k_rows},
                   {all_k + k_first, all_k + k_first + k_rows},
                   {2 * all_k + v_first, 2 * all_k + v_first + v_rows}};
  const BufferId qkv = NewConvolution(conv, d.prefix + "conv1d", 2 * all_k + all_v, false);
  GatedDeltaOp op{.in = qkv, .gates = x, .k_heads = k_heads, .v_heads = v_heads, .k_dim = d.k_dim, .v_dim = d.v_dim};
  op.b_begin = 2 * k_rows + 2 * v_rows;
  op.a_begin = op.b_begin + v_heads;
  op.a_log = NewVector(d.prefix + "A_log", d.v_heads, true);
  op.dt_bias = NewVector(d.prefix + "dt_bias", d.v_heads, true);
  op.layer = NewState({.kind = StateKind::kRecurrent, .heads = v_heads, .k_dim = d.k_dim, .v_dim = d.v_dim});
  op.out = NewBuffer(v_rows);
  Append(op, d.prefix + "delta rule");
  NormOp norm{.in = op.out, .out = op.out, .eps = d.eps, .heads = v_heads, .head_dim = d.v_dim};
  norm.weight = NewVector(d.prefix + "norm.weight", d.v_dim, false);
  Append(norm, d.prefix + "norm");
  const BufferId z = NewBuffer(v_rows);
  CopyColumns({.in = x, .out = z, .in_begin = 2 * k_rows + v_rows, .width = v_rows});
  Multiply(op.out, z, d.gate);
  return RowParallel(op.out, {d.prefix + "out_proj", graph_.buffers[static_cast<size_t>(in)].width}, all_v, d.v_dim);
}

BufferId GraphBuilder::LightningAttention(const Qkv& qkv, const std::vector<float>& decay, Activation act) {
  const BufferId active = NewBuffer(graph_.buffers[static_cast<size_t>(qkv.buffer)].width);
  Append(GatedOp{.in = qkv.buffer,
                 .out = active,
                 .rule = {act},
                 .gated = false,
                 .width = graph_.buffers[static_cast<size_t>(active)].width},
         "activation");
  LightningOp op{.in = active, .heads = qkv.q_heads, .k_dim = qkv.dim, .v_dim = qkv.v_dim};
  const auto first = decay.begin() + graph_.rank * qkv.q_heads;
  op.decay.assign(first, first + qkv.q_heads);
  op.layer = NewState({.kind = StateKind::kRecurrent, .heads = qkv.q_heads, .k_dim = qkv.dim, .v_dim = qkv.v_dim});
  op.out = NewBuffer(qkv.q_heads * qkv.v_dim);
  Append(op, "lightning attention");
  return op.out;
}

}  // namespace nibble
