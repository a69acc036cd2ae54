// SPDX-License-Identifier: Apache-2.0
#include "graph/builder.h"

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

Status GraphBuilder::CheckDivides(int64_t count, const char* what) const {
  if (count % graph_.ranks == 0) return {};
  std::string allowed;
  for (int64_t ranks = 1; ranks <= count && ranks <= 16; ++ranks)
    if (count % ranks == 0) allowed += fmt::format("{}{}", allowed.empty() ? "" : ", ", ranks);
  return Unsupported("{} {} cannot be divided among {} ranks; --tp may be {}", count, what, graph_.ranks, allowed);
}

int64_t GraphBuilder::Local(int64_t count, const char* what) {
  if (status_) status_ = CheckDivides(count, what);
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

void GraphBuilder::Positions(BufferId into, const std::string& module, int64_t rows, int64_t offset) {
  graph_.embeddings.push_back({module, rows, graph_.buffers[static_cast<size_t>(into)].width});
  Append(PositionsOp{into, static_cast<int>(graph_.embeddings.size()) - 1, offset}, module);
}

int GraphBuilder::NewVector(const std::string& name, int64_t size, bool cut) {
  graph_.vectors.push_back({.name = name, .size = size, .shard_unit = cut && graph_.ranks > 1 ? 1 : 0});
  return static_cast<int>(graph_.vectors.size()) - 1;
}

BufferId GraphBuilder::NormOf(BufferId in, const Norm& norm) {
  const int64_t width = graph_.buffers[static_cast<size_t>(in)].width;
  const BufferId out = NewBuffer(width);
  NormOp op{.rms = norm.rms, .in = in, .out = out, .eps = norm.eps, .offset = norm.offset};
  if (norm.has_weight) op.weight = NewVector(norm.name + ".weight", width);
  if (norm.bias) op.bias = NewVector(norm.name + ".bias", width);
  Append(op, norm.name);
  return out;
}

BufferId GraphBuilder::Replicated(BufferId in, const std::vector<Part>& parts) {
  LinearSpec spec{.k = graph_.buffers[static_cast<size_t>(in)].width};
  for (const Part& part : parts) spec.parts.push_back({.name = part.name, .n = part.n, .bias = part.bias});
  const int64_t n = spec.n();
  return LinearOut(in, std::move(spec), n, parts[0].name);
}

BufferId GraphBuilder::Router(BufferId in, const Part& part) {
  const BufferId out = Replicated(in, {part});
  graph_.linears.back().is_router = true;
  return out;
}

BufferId GraphBuilder::ColumnParallel(BufferId in, std::vector<LinearPartSpec> parts) {
  LinearSpec spec{.parts = std::move(parts), .k = graph_.buffers[static_cast<size_t>(in)].width, .shard = Shard::kRows};
  int64_t width = 0;
  for (const LinearPartSpec& part : spec.parts)
    width += part.shard_replicate ? part.shard_unit
                                  : SplitRange(part.n / part.shard_unit, graph_.rank, graph_.ranks).size() * part.shard_unit;
  const std::string name = spec.parts[0].name;
  return LinearOut(in, std::move(spec), width, name);
}

void GraphBuilder::Clamp(BufferId buffer, float limit) { Append(ClampOp{buffer, limit}, "clamp"); }
void GraphBuilder::Scale(BufferId buffer, float scale) { Append(SoftcapOp{buffer, 0, scale}, "scale"); }
void GraphBuilder::Multiply(BufferId into, BufferId from, Activation act) { Append(MulOp{into, from, act}, "multiply"); }
void GraphBuilder::MultiplyBySoftplus(BufferId into, BufferId from) {
  Append(MulOp{.into = into, .from = from, .softplus = true}, "multiply");
}
void GraphBuilder::Xielu(BufferId buffer, const std::string& alpha_p, const std::string& alpha_n) {
  const int p = NewVector(alpha_p, 1), n = NewVector(alpha_n, 1);
  Append(XieluOp{.buffer = buffer, .alpha_p = p, .alpha_n = n}, "activation");
}
void GraphBuilder::ScaleBy(BufferId buffer, const std::string& tensor, int64_t size) {
  Append(ScaleByOp{buffer, NewVector(tensor, size)}, tensor);
}
BufferId GraphBuilder::Columns(BufferId in, int64_t begin, int64_t width) {
  const BufferId out = NewBuffer(width);
  CopyColumns({.in = in, .out = out, .in_begin = begin, .width = width});
  return out;
}
void GraphBuilder::CopyColumns(const CopyColumnsOp& op) { Append(op, "copy columns"); }

BufferId GraphBuilder::RowParallel(BufferId in, const Part& part, int64_t k, int64_t unit, bool transposed) {
  LinearSpec spec{.parts = {{.name = part.name, .n = part.n, .transposed = transposed, .bias = part.bias}},
                  .k = k,
                  .shard = graph_.ranks > 1 ? Shard::kColumns : Shard::kReplicate,
                  .shard_unit_k = unit};
  const BufferId out = LinearOut(in, std::move(spec), part.n, part.name);
  if (graph_.ranks > 1) Append(AllReduceOp{out}, part.name + " all-reduce");
  return out;
}

BufferId GraphBuilder::GatedMlp(BufferId in, const Mlp& mlp) {
  const bool gated = !mlp.gate.empty(), whole = !mlp.norm.name.empty();
  const int64_t width = whole ? mlp.inter : SplitRange(mlp.inter, graph_.rank, graph_.ranks).size();
  std::vector<LinearPartSpec> parts;
  for (const std::string& name : {mlp.gate, mlp.up}) {
    if (name.empty()) continue;
    parts.push_back({.name = name,
                     .n = mlp.inter,
                     .fused_name = gated ? mlp.fused : "",
                     .fused_row = name == mlp.gate ? 0 : mlp.inter,
                     .fused_n = 2 * mlp.inter,
                     .transposed = mlp.transposed,
                     .bias = mlp.bias});
  }
  LinearSpec spec{.parts = std::move(parts), .k = mlp.hidden, .shard = whole ? Shard::kReplicate : Shard::kRows};
  const BufferId both = LinearOut(in, std::move(spec), (gated ? 2 : 1) * width, gated && !mlp.fused.empty() ? mlp.fused : mlp.up);
  BufferId activated = both;
  if (mlp.alpha_p.empty()) {
    activated = NewBuffer(width);
    Append(GatedOp{both, activated, mlp.rule, gated, width}, "activation");
  } else {
    Xielu(both, mlp.alpha_p, mlp.alpha_n);
  }
  if (whole) activated = TakeColumns(NormOf(activated, mlp.norm), 1);
  return RowParallel(activated, {mlp.down, mlp.hidden, mlp.bias}, mlp.inter, 1, mlp.transposed);
}

BufferId GraphBuilder::WidthNormOfSlices(BufferId in, const Norm& norm, int64_t unit) {
  if (graph_.ranks == 1) return NormOf(in, norm);
  const BufferId whole = NewBuffer(graph_.buffers[static_cast<size_t>(in)].width * graph_.ranks);
  Append(AllGatherOp{in, whole}, norm.name + " all-gather");
  return TakeColumns(NormOf(whole, norm), unit);
}

BufferId GraphBuilder::TakeColumns(BufferId in, int64_t unit) {
  if (graph_.ranks == 1) return in;
  const Range units = SplitRange(graph_.buffers[static_cast<size_t>(in)].width / unit, graph_.rank, graph_.ranks);
  const BufferId out = NewBuffer(units.size() * unit);
  CopyColumns({.in = in, .out = out, .in_begin = units.begin * unit, .width = units.size() * unit});
  return out;
}

BufferId GraphBuilder::Experts(BufferId in, const Part& router, MoeSpec moe, const std::string& choice_bias, BufferId router_in,
                               const std::string& expert_scales) {
  const BufferId logits = Router(router_in < 0 ? in : router_in, router);
  if (!choice_bias.empty()) moe.choice_bias = NewVector(choice_bias, moe.experts);
  if (!expert_scales.empty()) moe.expert_scales = NewVector(expert_scales, moe.experts);
  const std::string name = moe.prefix;
  const BufferId out = NewBuffer(moe.hidden);
  graph_.moes.push_back(std::move(moe));
  Append(MoeOp{in, logits, out, static_cast<int>(graph_.moes.size()) - 1}, name);
  if (graph_.ranks > 1) Append(AllReduceOp{out}, name + " all-reduce");
  return out;
}

void GraphBuilder::Add(BufferId into, BufferId from, float scale) { Append(AddOp{into, from, scale}, "add"); }

void GraphBuilder::Logits(BufferId in, const Norm& norm, const Head& head) {
  const int64_t width = graph_.buffers[static_cast<size_t>(in)].width;
  logits_rows_ = true;
  const BufferId gathered = NewBuffer(width);
  Append(GatherRowsOp{in, gathered}, "gather rows");
  BufferId normed = norm.name.empty() ? gathered : NormOf(gathered, norm);
  if (!head.in.empty()) normed = Replicated(normed, {{head.in, head.in_width}});
  LinearSpec spec{.parts = {{.name = head.name, .n = head.vocab, .bias = head.bias}},
                  .k = head.in.empty() ? width : head.in_width,
                  .is_lm_head = true,
                  .tied_to = head.tied_to};
  graph_.logits = LinearOut(normed, std::move(spec), head.vocab, head.name);
  if (head.scale != 1 || head.softcap != 0) Append(SoftcapOp{graph_.logits, head.softcap, head.scale}, "logit scale");
  graph_.vocab = head.vocab;
}

Result<Graph> GraphBuilder::Finish() {
  NIBBLE_RETURN_IF_ERROR(status_);
  return std::move(graph_);
}

}  // namespace nibble
