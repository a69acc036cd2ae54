// SPDX-License-Identifier: Apache-2.0
#include "quantizers/graph_text.h"

#include <fmt/ranges.h>

namespace nibble {
namespace {

template <typename... Fields>
std::string Line(const char* kind, const Fields&... fields) {
  std::string text = kind;
  ((text += fmt::format(" {}", fields)), ...);
  return text + "\n";
}

struct Writer {
  const Graph& graph;
  bool windows;

  std::string operator()(const EmbedOp& op) const { return Line("embed", op.out, op.table, op.scale); }
  std::string operator()(const NormOp& op) const {
    return Line("norm", op.rms, op.in, op.out, op.weight, op.bias, op.eps, op.offset, op.begin, op.heads, op.head_dim, op.per_head);
  }
  std::string operator()(const LinearOp& op) const {
    const LinearSpec& spec = graph.linears[static_cast<size_t>(op.linear)];
    return Line("linear", op.in, op.out, op.linear, spec.n(), spec.k, spec.tied_to.empty());
  }
  std::string operator()(const LatentOp& op) const {
    return Line("latent", op.in, op.out, op.linear, op.values, op.in_stride, op.out_stride);
  }
  std::string operator()(const RopeOp& op) const { return Line("rope", op.buffer, op.rope, op.begin, op.heads, op.head_dim); }
  std::string operator()(const WriteKvOp& op) const { return Line("kv", op.in, op.layer, op.k_begin, op.v_begin); }
  std::string operator()(const AttentionOp& op) const {
    return Line("attention", op.in, op.out, op.layer, op.q_begin, op.heads, op.head_dim, op.v_dim, op.scale, op.softcap,
                windows ? op.window : 0, windows ? op.chunk : 0, op.sinks, fmt::format("{}", fmt::join(op.slopes, ",")));
  }
  std::string operator()(const GatedOp& op) const {
    return Line("gated", op.in, op.out, static_cast<int>(op.rule.act), op.rule.limit, op.rule.alpha, op.gated, op.width);
  }
  std::string operator()(const MoeOp& op) const {
    const MoeSpec& spec = graph.moes[static_cast<size_t>(op.moe)];
    return Line("moe", op.in, op.logits, op.out, spec.experts, spec.top_k, spec.hidden, spec.inter, static_cast<int>(spec.router),
                spec.renormalize, spec.choice_bias, spec.groups, spec.top_groups, spec.group_by_two, spec.scale, spec.scale_input,
                spec.jitter_eps, spec.expert_scales, static_cast<int>(spec.gate.act), spec.gate.limit, spec.gate.alpha);
  }
  std::string operator()(const PositionsOp& op) const { return Line("positions", op.into, op.table, op.offset); }
  std::string operator()(const CopyColumnsOp& op) const {
    return Line("copy", op.in, op.out, op.in_begin, op.in_stride, op.out_begin, op.out_stride, op.blocks, op.width);
  }
  std::string operator()(const ClampOp& op) const { return Line("clamp", op.buffer, op.limit); }
  std::string operator()(const MulOp& op) const {
    return Line(op.softplus ? "mul softplus" : "mul", op.into, op.from, static_cast<int>(op.act));
  }
  std::string operator()(const ScaleByOp& op) const { return Line("scale-by", op.buffer, op.vector); }
  std::string operator()(const XieluOp& op) const { return Line("xielu", op.buffer, op.alpha_p, op.alpha_n, op.beta, op.eps); }
  std::string operator()(const PositionScaleOp& op) const {
    return Line("position-scale", op.buffer, op.width, op.scale, op.period, op.shift);
  }
  std::string operator()(const AddOp& op) const { return Line("add", op.into, op.from, op.scale); }
  std::string operator()(const GatherRowsOp& op) const { return Line("gather", op.in, op.out); }
  std::string operator()(const SoftcapOp& op) const { return Line("softcap", op.buffer, op.cap, op.scale); }
  template <typename Other>
  std::string operator()(const Other&) const {
    return Line("other");
  }  // of passes and ranks: not in a graph as it is built
};

}  // namespace

std::string GraphText(const Graph& graph, bool windows) {
  std::string text;
  for (const Op& op : graph.ops) text += std::visit(Writer{graph, windows}, op.op);
  for (const RopeSpec& rope : graph.ropes)
    text += Line("frequencies", rope.rotary_dims, rope.interleaved, rope.attention_factor, rope.dynamic_from,
                 rope.long_attention_factor);
  return text;
}

}  // namespace nibble
