// SPDX-License-Identifier: Apache-2.0
// Queries, keys and values, their norms and ropes, and attention over them.
#include <cmath>

#include "graph/builder.h"

namespace nibble {

namespace {
// Module `q` has the rows of a head's queries, then those of its gate: takes both from there, the gates as the last part.
void AddQueryGate(const std::string& q, const GraphBuilder::Heads& heads, bool bias, std::vector<LinearPartSpec>* parts) {
  LinearPartSpec queries{.name = q + ".query",
                         .n = heads.q * heads.dim,
                         .fused_name = q,
                         .fused_n = 2 * heads.q * heads.dim,
                         .fused_block = heads.dim,
                         .fused_stride = 2 * heads.dim,
                         .bias = bias,
                         .shard_unit = heads.dim};
  LinearPartSpec gates = queries;
  gates.name = q + ".gate";
  gates.fused_row = heads.dim;
  parts->front() = std::move(queries);
  parts->push_back(std::move(gates));
}
}  // namespace

GraphBuilder::Qkv GraphBuilder::QkvProjection(BufferId in, const QkvModules& m) {
  Heads heads = m.heads;
  if (!heads.v_dim) heads.v_dim = heads.dim;
  const bool replicate_kv = Replicates(heads.kv), whole = m.whole || graph_.ranks == 1;
  Qkv out{.q_heads = Local(heads.q, "attention heads"),
          .kv_heads = replicate_kv ? 1 : Local(heads.kv, "key/value heads"),
          .dim = heads.dim,
          .v_dim = heads.v_dim,
          .gated = m.gated,
          .whole = heads,
          .module = m.q.substr(0, m.q.rfind('.'))};
  const int64_t ratio = heads.q / heads.kv, group = (ratio + 1) * heads.dim + heads.v_dim;
  // first: the part's first row in the fused module, in all of it and in a group.
  const auto part = [&](const std::string& name, int64_t count, int64_t dim, int64_t first, int64_t first_of_group,
                        bool replicate) {
    LinearPartSpec spec{.name = name,
                        .n = count * dim,
                        .fused_name = m.fused,
                        .fused_row = first,
                        .fused_n = heads.q * heads.dim + heads.kv * (heads.dim + heads.v_dim),
                        .transposed = m.transposed,
                        .bias = m.bias,
                        .shard_unit = dim,
                        .shard_replicate = replicate};
    if (m.order == FusedOrder::kGroups) {
      spec.fused_row = first_of_group;
      spec.fused_block = count / heads.kv * dim;
      spec.fused_stride = group;
    } else if (m.order == FusedOrder::kQvkQuarters) {
      spec.fused_block = count / 4 * dim;
      spec.fused_stride = 3 * spec.fused_block;
      // q, k, v come here in this order, the parts of a quarter as q, v, k.
      spec.fused_row = first == 0 ? 0 : first == count * dim ? 2 * spec.fused_block : spec.fused_block;
    }
    return spec;
  };
  std::vector<LinearPartSpec> parts = {
      part(m.q, heads.q, heads.dim, 0, 0, false),
      part(m.k, heads.kv, heads.dim, heads.q * heads.dim, ratio * heads.dim, replicate_kv),
      part(m.v, heads.kv, heads.v_dim, (heads.q + heads.kv) * heads.dim, (ratio + 1) * heads.dim, replicate_kv)};
  if (m.v.empty()) return PartialProjection(in, std::move(parts), m, out);
  if (m.gated) AddQueryGate(m.q, heads, m.bias, &parts);
  if (!whole) {
    out.buffer = ColumnParallel(in, std::move(parts));
    return out;
  }
  out.q_heads = heads.q;
  out.kv_heads = heads.kv;
  LinearSpec spec{.parts = std::move(parts), .k = graph_.buffers[static_cast<size_t>(in)].width};
  const int64_t n = spec.n();
  out.buffer = LinearOut(in, std::move(spec), n, m.fused.empty() ? m.q : m.fused);
  return out;
}

GraphBuilder::Qkv GraphBuilder::PartialProjection(BufferId in, std::vector<LinearPartSpec> parts, const QkvModules& m, Qkv out) {
  parts.resize(m.k.empty() ? 1 : 2);
  for (LinearPartSpec& part : parts) part.fused_name.clear();
  const BufferId product = ColumnParallel(in, std::move(parts));
  if (m.k.empty()) {
    out.buffer = product;
    out.kv_heads = 0;
    return out;
  }
  const int64_t q_width = out.q_heads * out.dim, k_width = out.kv_heads * out.dim;
  out.buffer = NewBuffer(q_width + 2 * k_width);
  CopyColumns({.in = product, .out = out.buffer, .width = q_width + k_width});
  CopyColumns({.in = product, .out = out.buffer, .in_begin = q_width, .out_begin = q_width + k_width, .width = k_width});
  return out;
}

GraphBuilder::Qkv GraphBuilder::TakeHeads(const Qkv& qkv) {
  if (graph_.ranks == 1) return qkv;
  const Heads& heads = qkv.whole;
  const bool replicate_kv = Replicates(heads.kv);
  Qkv mine = qkv;
  mine.q_heads = Local(heads.q, "attention heads");
  mine.kv_heads = replicate_kv ? 1 : Local(heads.kv, "key/value heads");
  mine.buffer = NewBuffer(mine.q_heads * mine.dim + mine.kv_heads * (mine.dim + mine.v_dim));
  const int64_t q_first = graph_.rank * mine.q_heads, kv_first = graph_.rank * heads.kv / graph_.ranks;
  const int64_t q_width = mine.q_heads * mine.dim, k_width = mine.kv_heads * mine.dim;
  CopyColumns({.in = qkv.buffer, .out = mine.buffer, .in_begin = q_first * mine.dim, .width = q_width});
  CopyColumns(
      {.in = qkv.buffer, .out = mine.buffer, .in_begin = (heads.q + kv_first) * mine.dim, .out_begin = q_width, .width = k_width});
  CopyColumns({.in = qkv.buffer,
               .out = mine.buffer,
               .in_begin = (heads.q + heads.kv) * mine.dim + kv_first * mine.v_dim,
               .out_begin = q_width + k_width,
               .width = mine.kv_heads * mine.v_dim});
  return mine;
}

void GraphBuilder::HeadNorm(const Qkv& qkv, const Norm& q, const Norm& k) {
  const auto append = [&](const Norm& norm, int64_t begin, int64_t heads, int64_t whole_heads) {
    NormOp op{.rms = norm.rms,
              .in = qkv.buffer,
              .out = qkv.buffer,
              .eps = norm.eps,
              .offset = norm.offset,
              .begin = begin,
              .heads = heads,
              .head_dim = qkv.dim,
              .per_head = norm.per_head};
    if (norm.has_weight) op.weight = NewVector(norm.name + ".weight", norm.per_head ? whole_heads * qkv.dim : qkv.dim);
    if (norm.per_head && norm.name.find("{}") != std::string::npos) graph_.vectors.back().pieces = whole_heads;
    if (norm.bias) op.bias = NewVector(norm.name + ".bias", qkv.dim);
    if (norm.per_head && heads != whole_heads) {
      graph_.vectors.back().shard_unit = qkv.dim;
      graph_.vectors.back().shard_replicate = Replicates(whole_heads);
    }
    Append(op, norm.name);
  };
  append(q, 0, qkv.q_heads, qkv.whole.q);
  if (qkv.kv_heads > 0) append(k, qkv.q_heads * qkv.dim, qkv.kv_heads, qkv.whole.kv);
}

void GraphBuilder::SliceNorm(BufferId buffer, const Norm& norm, int64_t begin, int64_t count, int64_t width) {
  NormOp op{.rms = norm.rms,
            .in = buffer,
            .out = buffer,
            .eps = norm.eps,
            .offset = norm.offset,
            .begin = begin,
            .heads = count,
            .head_dim = width};
  if (norm.has_weight) op.weight = NewVector(norm.name + ".weight", width);
  Append(op, norm.has_weight ? norm.name : "norm");
}

void GraphBuilder::ValueNorm(const Qkv& qkv, float eps) {
  SliceNorm(qkv.buffer, {.name = "", .eps = eps, .has_weight = false}, (qkv.q_heads + qkv.kv_heads) * qkv.dim, qkv.kv_heads,
            qkv.v_dim);
}

void GraphBuilder::WidthNorm(const Qkv& qkv, const Norm& q, const Norm& k) {
  const int64_t q_width = qkv.q_heads * qkv.dim;
  SliceNorm(qkv.buffer, q, 0, 1, q_width);
  SliceNorm(qkv.buffer, k, q_width, 1, qkv.kv_heads * qkv.dim);
}

int GraphBuilder::AddRope(RopeSpec rope) {
  for (size_t i = 0; i < graph_.ropes.size(); ++i)
    if (graph_.ropes[i] == rope) return static_cast<int>(i);  // its angles are computed once a step
  graph_.ropes.push_back(std::move(rope));
  return static_cast<int>(graph_.ropes.size()) - 1;
}

void GraphBuilder::Rope(const Qkv& qkv, int rope) {
  Append(RopeOp{qkv.buffer, rope, 0, qkv.q_heads + qkv.kv_heads, qkv.dim}, "rope");
}

void GraphBuilder::RopeColumns(const RopeOp& op) { Append(op, "rope"); }

BufferId GraphBuilder::Attention(const Qkv& qkv, const AttentionOptions& options) {
  const auto& [scale, period, shift] = options.temperature;
  if (scale != 0) Append(PositionScaleOp{qkv.buffer, qkv.q_heads * qkv.dim, scale, period, shift}, "scale queries");
  const int64_t k_begin = qkv.q_heads * qkv.dim, v_begin = qkv.latent ? k_begin : k_begin + qkv.kv_heads * qkv.dim;
  int layer = options.shared_state;
  const int64_t window = options.window > 0 ? options.window : options.chunk;  // a chunk's first row sees no further than that
  if (layer >= 0) {
    LayerState& state = graph_.states[static_cast<size_t>(layer)];
    state.window = window == 0 || state.window == 0 ? 0 : std::max(state.window, window);
  } else {
    layer = static_cast<int>(graph_.states.size());
    graph_.states.push_back({.kind = qkv.latent ? StateKind::kLatent : StateKind::kPagedKv,
                             .heads = qkv.kv_heads,
                             .k_dim = qkv.dim,
                             .v_dim = qkv.v_dim,
                             .window = window});
    graph_.attention_modules.push_back({qkv.module, qkv.whole.kv});
    Append(WriteKvOp{qkv.buffer, layer, k_begin, v_begin}, "write kv");
  }
  const BufferId out = NewBuffer(qkv.q_heads * qkv.v_dim);
  AttentionOp op{.in = qkv.buffer,
                 .out = out,
                 .layer = layer,
                 .q_begin = 0,
                 .heads = qkv.q_heads,
                 .head_dim = qkv.dim,
                 .v_dim = qkv.v_dim,
                 .scale = options.scale != 0 ? options.scale : 1.0f / std::sqrt(static_cast<float>(qkv.dim)),
                 .softcap = options.softcap,
                 .window = options.window,
                 .chunk = options.chunk};
  if (!options.sinks.empty()) {
    op.sinks = NewVector(options.sinks, qkv.whole.q, true);
  }
  if (!options.slopes.empty()) {
    const auto first = options.slopes.begin() + graph_.rank * qkv.q_heads;
    op.slopes.assign(first, first + qkv.q_heads);
  }
  Append(std::move(op), "attention");
  return out;
}

int GraphBuilder::AddLatent(const std::string& module, int64_t heads, int64_t keys, int64_t values, int64_t k) {
  LinearSpec spec{.parts = {{.name = module, .n = heads * (keys + values), .shard_unit = keys + values}}, .k = k};
  spec.shard = Shard::kRows;
  spec.latent = {heads, keys, values};
  return NewLinear(std::move(spec));
}
void GraphBuilder::Latent(const LatentOp& op) { Append(op, op.values ? "latent values" : "latent keys"); }

void GraphBuilder::MultiplyByGate(BufferId out, const Qkv& qkv) {
  const int64_t width = qkv.q_heads * qkv.dim;
  const BufferId gate = NewBuffer(width);
  CopyColumns({.in = qkv.buffer, .out = gate, .in_begin = width + qkv.kv_heads * (qkv.dim + qkv.v_dim), .width = width});
  Multiply(out, gate, Activation::kSigmoid);
}

}  // namespace nibble
