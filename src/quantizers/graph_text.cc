// SPDX-License-Identifier: Apache-2.0
#include "quantizers/graph_text.h"

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
    return Line("norm", op.rms, op.in, op.out, op.weight, op.bias, op.eps, op.offset, op.begin, op.heads, op.head_dim);
  }
  std::string operator()(const LinearOp& op) const {
    const LinearSpec& spec = graph.linears[static_cast<size_t>(op.linear)];
    return Line("linear", op.in, op.out, op.linear, spec.n(), spec.k, spec.tied_to.empty());
  }
  std::string operator()(const RopeOp& op) const { return Line("rope", op.buffer, op.rope, op.begin, op.heads, op.head_dim); }
  std::string operator()(const WriteKvOp& op) const { return Line("kv", op.in, op.layer, op.k_begin, op.v_begin); }
  std::string operator()(const AttentionOp& op) const {
    return Line("attention", op.in, op.out, op.layer, op.q_begin, op.heads, op.head_dim, op.v_dim, op.scale, op.softcap,
                windows ? op.window : 0);
  }
  std::string operator()(const GatedOp& op) const {
    return Line("gated", op.in, op.out, static_cast<int>(op.act), op.gated, op.width);
  }
  std::string operator()(const MoeOp& op) const {
    const MoeSpec& spec = graph.moes[static_cast<size_t>(op.moe)];
    return Line("moe", op.in, op.logits, op.out, spec.experts, spec.top_k, spec.hidden, spec.inter, static_cast<int>(spec.router),
                spec.renormalize, static_cast<int>(spec.act));
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
    text += Line("frequencies", rope.rotary_dims, rope.interleaved, rope.attention_factor, rope.dynamic_from);
  return text;
}

}  // namespace nibble
