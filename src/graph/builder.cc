// SPDX-License-Identifier: Apache-2.0
#include "graph/builder.h"

#include <cmath>

#include "base/math.h"

namespace nibble {

BufferId GraphBuilder::NewBuffer(int64_t width) {
  graph_.buffers.push_back({.width = width, .logits_rows = logits_rows_});
  return static_cast<BufferId>(graph_.buffers.size()) - 1;
}

int GraphBuilder::NewLinear(LinearSpec spec) {
  graph_.linears.push_back(std::move(spec));
  return static_cast<int>(graph_.linears.size()) - 1;
}

void GraphBuilder::Append(AnyOp op, const std::string& name) {
  graph_.ops.push_back({.op = std::move(op), .name = name, .logits_rows = logits_rows_});
}

int64_t GraphBuilder::Local(int64_t count, const char* what) {
  if (count % graph_.ranks != 0 && status_) {
    std::string allowed;
    for (int64_t ranks = 1; ranks <= count && ranks <= 16; ++ranks)
      if (count % ranks == 0) allowed += fmt::format("{}{}", allowed.empty() ? "" : ", ", ranks);
    status_ = Unsupported("{} {} cannot be divided among {} ranks; --tp may be {}", count, what, graph_.ranks, allowed);
  }
  return count / graph_.ranks;
}

BufferId GraphBuilder::LinearOut(BufferId in, LinearSpec spec, int64_t local_n, const std::string& name) {
  const int linear = NewLinear(std::move(spec));
  const BufferId out = NewBuffer(local_n);
  Append(LinearOp{in, out, linear, {}}, name);
  return out;
}

BufferId GraphBuilder::Embed(const std::string& module, int64_t vocab, int64_t width, float scale) {
  graph_.embeddings.push_back({module, vocab, width});
  const BufferId out = NewBuffer(width);
  Append(EmbedOp{out, static_cast<int>(graph_.embeddings.size()) - 1, scale}, module);
  return out;
}

namespace {
int AddVector(Graph* graph, const std::string& name, int64_t size) {
  graph->vectors.push_back({name, size});
  return static_cast<int>(graph->vectors.size()) - 1;
}
}  // namespace

BufferId GraphBuilder::NormOf(BufferId in, const Norm& norm) {
  const int64_t width = graph_.buffers[static_cast<size_t>(in)].width;
  const BufferId out = NewBuffer(width);
  NormOp op{.rms = norm.rms, .in = in, .out = out, .eps = norm.eps, .offset = norm.offset};
  if (norm.has_weight) op.weight = AddVector(&graph_, norm.name + ".weight", width);
  if (norm.bias) op.bias = AddVector(&graph_, norm.name + ".bias", width);
  Append(op, norm.name);
  return out;
}

BufferId GraphBuilder::Replicated(BufferId in, const std::vector<Part>& parts) {
  LinearSpec spec{.k = graph_.buffers[static_cast<size_t>(in)].width};
  for (const Part& part : parts) spec.parts.push_back({.name = part.name, .n = part.n, .bias = part.bias});
  const int64_t n = spec.n();
  return LinearOut(in, std::move(spec), n, parts[0].name);
}

GraphBuilder::Qkv GraphBuilder::QkvProjection(BufferId in, const std::string& q, const std::string& k, const std::string& v,
                                              const std::string& fused, const Heads& heads, bool bias) {
  const int64_t v_dim = heads.v_dim ? heads.v_dim : heads.dim;
  const bool replicate_kv = heads.kv < graph_.ranks && graph_.ranks % heads.kv == 0;
  Qkv out{.q_heads = Local(heads.q, "attention heads"),
          .kv_heads = replicate_kv ? 1 : Local(heads.kv, "key/value heads"),
          .dim = heads.dim,
          .v_dim = v_dim};
  const int64_t fused_n = heads.q * heads.dim + heads.kv * (heads.dim + v_dim);
  const auto part = [&](const std::string& name, int64_t count, int64_t dim, int64_t row, bool replicate) {
    return LinearPartSpec{.name = name,
                          .n = count * dim,
                          .fused_name = fused,
                          .fused_row = row,
                          .fused_n = fused_n,
                          .bias = bias,
                          .shard_unit = dim,
                          .shard_replicate = replicate};
  };
  LinearSpec spec{.k = graph_.buffers[static_cast<size_t>(in)].width, .shard = Shard::kRows};
  spec.parts = {part(q, heads.q, heads.dim, 0, false), part(k, heads.kv, heads.dim, heads.q * heads.dim, replicate_kv),
                part(v, heads.kv, v_dim, (heads.q + heads.kv) * heads.dim, replicate_kv)};
  out.buffer =
      LinearOut(in, std::move(spec), out.q_heads * heads.dim + out.kv_heads * (heads.dim + v_dim), fused.empty() ? q : fused);
  return out;
}

void GraphBuilder::HeadNorm(const Qkv& qkv, const Norm& q, const Norm& k) {
  const auto append = [&](const Norm& norm, int64_t begin, int64_t heads) {
    NormOp op{.rms = norm.rms,
              .in = qkv.buffer,
              .out = qkv.buffer,
              .eps = norm.eps,
              .offset = norm.offset,
              .begin = begin,
              .heads = heads,
              .head_dim = qkv.dim};
    if (norm.has_weight) op.weight = AddVector(&graph_, norm.name + ".weight", qkv.dim);
    Append(op, norm.name);
  };
  append(q, 0, qkv.q_heads);
  append(k, qkv.q_heads * qkv.dim, qkv.kv_heads);
}

int GraphBuilder::AddRope(RopeSpec rope) {
  graph_.ropes.push_back(std::move(rope));
  return static_cast<int>(graph_.ropes.size()) - 1;
}

void GraphBuilder::Rope(const Qkv& qkv, int rope) {
  Append(RopeOp{qkv.buffer, rope, 0, qkv.q_heads + qkv.kv_heads, qkv.dim}, "rope");
}

BufferId GraphBuilder::Attention(const Qkv& qkv, const AttentionOptions& options) {
  const int layer = static_cast<int>(graph_.states.size());
  graph_.states.push_back({.kind = options.window ? StateKind::kWindow : StateKind::kPagedKv,
                           .heads = qkv.kv_heads,
                           .k_dim = qkv.dim,
                           .v_dim = qkv.v_dim,
                           .window = options.window});
  const int64_t k_begin = qkv.q_heads * qkv.dim, v_begin = k_begin + qkv.kv_heads * qkv.dim;
  Append(WriteKvOp{qkv.buffer, layer, k_begin, v_begin}, "write kv");
  const BufferId out = NewBuffer(qkv.q_heads * qkv.v_dim);
  const float scale = options.scale != 0 ? options.scale : 1.0f / std::sqrt(static_cast<float>(qkv.dim));
  Append(AttentionOp{qkv.buffer, out, layer, 0, qkv.q_heads, qkv.dim, qkv.v_dim, scale, options.softcap, options.window},
         "attention");
  return out;
}

BufferId GraphBuilder::RowParallel(BufferId in, const Part& part, int64_t k, int64_t unit) {
  LinearSpec spec{.parts = {{.name = part.name, .n = part.n, .bias = part.bias}},
                  .k = k,
                  .shard = graph_.ranks > 1 ? Shard::kColumns : Shard::kReplicate,
                  .shard_unit_k = unit};
  const BufferId out = LinearOut(in, std::move(spec), part.n, part.name);
  if (graph_.ranks > 1) Append(AllReduceOp{out}, part.name + " all-reduce");
  return out;
}

BufferId GraphBuilder::GatedMlp(BufferId in, const Mlp& mlp) {
  const Range mine = SplitRange(mlp.inter, graph_.rank, graph_.ranks);
  LinearSpec spec{.k = mlp.hidden, .shard = Shard::kRows};
  const bool gated = !mlp.gate.empty();
  if (gated)
    spec.parts.push_back(
        {.name = mlp.gate, .n = mlp.inter, .fused_name = mlp.fused, .fused_row = 0, .fused_n = 2 * mlp.inter, .bias = mlp.bias});
  spec.parts.push_back({.name = mlp.up,
                        .n = mlp.inter,
                        .fused_name = gated ? mlp.fused : "",
                        .fused_row = mlp.inter,
                        .fused_n = 2 * mlp.inter,
                        .bias = mlp.bias});
  const BufferId both =
      LinearOut(in, std::move(spec), (gated ? 2 : 1) * mine.size(), gated && !mlp.fused.empty() ? mlp.fused : mlp.up);
  const BufferId activated = NewBuffer(mine.size());
  Append(GatedOp{both, activated, mlp.act, gated, mine.size()}, "activation");
  return RowParallel(activated, {mlp.down, mlp.hidden, mlp.bias}, mlp.inter, 1);
}

BufferId GraphBuilder::Experts(BufferId in, const std::string& router, const MoeSpec& moe) {
  const BufferId logits = Replicated(in, {{router, moe.experts}});
  graph_.linears.back().is_router = true;
  graph_.moes.push_back(moe);
  const BufferId out = NewBuffer(moe.hidden);
  Append(MoeOp{in, logits, out, static_cast<int>(graph_.moes.size()) - 1}, moe.prefix);
  if (graph_.ranks > 1) Append(AllReduceOp{out}, moe.prefix + " all-reduce");
  return out;
}

void GraphBuilder::Add(BufferId into, BufferId from, float scale) { Append(AddOp{into, from, scale}, "add"); }

void GraphBuilder::Logits(BufferId in, const Norm& norm, const Head& head) {
  const int64_t width = graph_.buffers[static_cast<size_t>(in)].width;
  logits_rows_ = true;
  const BufferId gathered = NewBuffer(width);
  Append(GatherRowsOp{in, gathered}, "gather rows");
  const BufferId normed = NormOf(gathered, norm);
  LinearSpec spec{
      .parts = {{.name = head.name, .n = head.vocab, .bias = head.bias}}, .k = width, .is_lm_head = true, .tied_to = head.tied_to};
  graph_.logits = LinearOut(normed, std::move(spec), head.vocab, head.name);
  if (head.scale != 1 || head.softcap != 0) Append(SoftcapOp{graph_.logits, head.softcap, head.scale}, "logit scale");
  graph_.vocab = head.vocab;
}

Result<Graph> GraphBuilder::Finish() {
  NIBBLE_RETURN_IF_ERROR(status_);
  return std::move(graph_);
}

}  // namespace nibble
