// SPDX-License-Identifier: Apache-2.0
#include "graph/passes.h"

#include <algorithm>
#include <cmath>

namespace nibble {
namespace {

template <typename... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <typename... F>
Overloaded(F...) -> Overloaded<F...>;

}  // namespace

const char* OpKindName(const AnyOp& op) {
  return std::visit([](const auto& kind) { return kind.kName; }, op);
}

OpBuffers BuffersOf(const AnyOp& any) {
  return std::visit(Overloaded{
                        [](const EmbedOp& op) {
                          return OpBuffers{{}, {op.out}};
                        },
                        [](const PositionsOp& op) {
                          return OpBuffers{{op.into}, {op.into}};
                        },
                        [](const NormOp& op) {
                          return OpBuffers{{op.in}, {op.out}};
                        },
                        [](const LinearOp& op) {
                          OpBuffers buffers{{op.in}, {op.out}};
                          buffers.reads.insert(buffers.reads.end(), op.prepared.begin(), op.prepared.end());
                          return buffers;
                        },
                        [](const PrepareOp& op) {
                          return OpBuffers{{op.in}, {op.out}};
                        },
                        [](const FinishOp& op) {
                          return OpBuffers{{op.in, op.buffer}, {op.buffer}};
                        },
                        [](const LatentOp& op) {
                          return OpBuffers{{op.in, op.out}, {op.out}};
                        },
                        [](const SelectColumnsOp& op) {
                          return OpBuffers{{op.in}, {op.out}};
                        },
                        [](const CopyColumnsOp& op) {
                          return OpBuffers{{op.in, op.out}, {op.out}};
                        },
                        [](const ClampOp& op) {
                          return OpBuffers{{op.buffer}, {op.buffer}};
                        },
                        [](const MulOp& op) {
                          return OpBuffers{{op.into, op.from}, {op.into}};
                        },
                        [](const ScaleByOp& op) {
                          return OpBuffers{{op.buffer}, {op.buffer}};
                        },
                        [](const XieluOp& op) {
                          return OpBuffers{{op.buffer}, {op.buffer}};
                        },
                        [](const PositionScaleOp& op) {
                          return OpBuffers{{op.buffer}, {op.buffer}};
                        },
                        [](const RopeOp& op) {
                          return OpBuffers{{op.buffer}, {op.buffer}};
                        },
                        [](const WriteKvOp& op) {
                          return OpBuffers{{op.in}, {}};
                        },
                        [](const AttentionOp& op) {
                          return OpBuffers{{op.in}, {op.out}};
                        },
                        [](const ShortConvOp& op) {
                          return OpBuffers{{op.in}, {op.out}};
                        },
                        [](const GatedDeltaOp& op) {
                          return OpBuffers{{op.in, op.gates}, {op.out}};
                        },
                        [](const LightningOp& op) {
                          return OpBuffers{{op.in}, {op.out}};
                        },
                        [](const GatedOp& op) {
                          return OpBuffers{{op.in}, {op.out}};
                        },
                        [](const MoeOp& op) {
                          return OpBuffers{{op.in, op.logits}, {op.out}};
                        },
                        [](const AddOp& op) {
                          return OpBuffers{{op.into, op.from}, {op.into}};
                        },
                        [](const AllReduceOp& op) {
                          return OpBuffers{{op.buffer}, {op.buffer}};
                        },
                        [](const AllGatherOp& op) {
                          return OpBuffers{{op.in}, {op.out}};
                        },
                        [](const GatherRowsOp& op) {
                          return OpBuffers{{op.in}, {op.out}};
                        },
                        [](const SoftcapOp& op) {
                          return OpBuffers{{op.buffer}, {op.buffer}};
                        },
                    },
                    any);
}

bool NeedsAllRows(const ActivationSpec& act) {
  const bool shared_scale = act.grain == ActivationSpec::kTensor && act.dynamic;
  const bool shared_global = act.scale_code == ActivationSpec::kE4M3 && act.global == 0;
  const bool outlier_columns = act.outlier_threshold > 0 && std::isfinite(act.outlier_threshold);
  return shared_scale || shared_global || outlier_columns;
}

bool SharesPositions(const ActivationSpec& act) {
  // FP8 alone: the same rule computes integers, TorchAO's too, by rows.
  return act.rule == ActivationSpec::kQuark && act.code == DType::kE4M3 && act.grain == ActivationSpec::kToken && act.dynamic;
}

bool IsRowwise(const AnyOp& op) {
  if (const auto* prepare = std::get_if<PrepareOp>(&op)) return !prepare->all_rows;
  return !std::holds_alternative<LinearOp>(op) && !std::holds_alternative<LatentOp>(op) &&
         !std::holds_alternative<AttentionOp>(op) && !std::holds_alternative<MoeOp>(op) &&
         !std::holds_alternative<AllReduceOp>(op) && !std::holds_alternative<AllGatherOp>(op) &&
         !std::holds_alternative<GatherRowsOp>(op) && !std::holds_alternative<ShortConvOp>(op) &&
         !std::holds_alternative<GatedDeltaOp>(op) && !std::holds_alternative<LightningOp>(op);
}

void InsertPrepare(Graph* graph, const BoundWeights& weights) {
  std::vector<Op> ops;
  for (Op& op : graph->ops) {
    auto* linear = std::get_if<LinearOp>(&op.op);
    if (!linear) {
      ops.push_back(std::move(op));
      continue;
    }
    const BoundLinear& bound = weights.linears[static_cast<size_t>(linear->linear)];
    const auto new_buffer = [&](int64_t width) {
      graph->buffers.push_back({.width = width, .logits_rows = op.logits_rows});
      return static_cast<BufferId>(graph->buffers.size()) - 1;
    };
    BufferId in = linear->in;
    if (bound.gather) {
      const BufferId whole = new_buffer(bound.whole_k);
      ops.push_back({.op = AllGatherOp{in, whole}, .name = op.name + " gather", .logits_rows = op.logits_rows});
      in = whole;
    }
    for (size_t i = 0; i < bound.input_count(); ++i) {
      if (bound.input(i).plain()) {
        linear->prepared.push_back(in);
        continue;
      }
      const BufferId prepared = new_buffer(bound.gather ? bound.whole_k : bound.packed.k);
      const ActivationSpec& act = bound.input(i).act;
      const bool all_rows = NeedsAllRows(act) || (graph->batch_scales && SharesPositions(act));
      ops.push_back({.op = PrepareOp{in, prepared, linear->linear, static_cast<int>(i), all_rows},
                     .name = op.name + " input",
                     .logits_rows = op.logits_rows});
      linear->prepared.push_back(prepared);
    }
    const int index = linear->linear;
    const BufferId out = linear->out;
    const std::string name = op.name;
    const bool logits_rows = op.logits_rows;
    const BufferId result = bound.keep_columns.empty() ? out : new_buffer(bound.packed.n);
    linear->out = result;
    ops.push_back(std::move(op));
    if (!bound.packed.outputs.empty())
      ops.push_back({.op = FinishOp{in, result, index}, .name = name + " output", .logits_rows = logits_rows});
    if (result != out)
      ops.push_back({.op = SelectColumnsOp{result, out, index}, .name = name + " columns", .logits_rows = logits_rows});
  }
  graph->ops = std::move(ops);
}

void FuseRowwise(Graph* graph) {
  for (size_t i = 1; i < graph->ops.size(); ++i) {
    const Op& previous = graph->ops[i - 1];
    Op& op = graph->ops[i];
    op.barrier_before = !(IsRowwise(previous.op) && IsRowwise(op.op) && previous.logits_rows == op.logits_rows);
    op.barrier_before_one = op.barrier_before;
  }
}

namespace {

// A run of row-wise ops without a barrier.
struct Stretch {
  size_t begin, end;
  bool repeated;
};

std::vector<Stretch> RowwiseStretches(const Graph& graph) {
  std::vector<Stretch> all;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    if (!IsRowwise(graph.ops[i].op)) continue;
    if (i == 0 || graph.ops[i].barrier_before)
      all.push_back({i, i + 1, true});
    else
      all.back().end = i + 1;
  }
  return all;
}

// Whether every op of the stretch may be run by all workers: what it writes, nobody else writes and no cache keeps.
bool CanRepeat(const Graph& graph, const Stretch& stretch) {
  for (size_t i = stretch.begin; i < stretch.end; ++i) {
    if (std::holds_alternative<WriteKvOp>(graph.ops[i].op)) return false;
    for (const BufferId id : BuffersOf(graph.ops[i].op).writes)
      if (!graph.buffers[static_cast<size_t>(id)].own) return false;
  }
  return true;
}

// Ops that can be done head by head on the attention's own buffer.
bool PreparesHeads(const AnyOp& op, const AttentionOp& attention) {
  const BufferId in = attention.in;
  if (const auto* norm = std::get_if<NormOp>(&op)) return norm->in == in && norm->out == in && norm->head_dim == attention.head_dim;
  if (const auto* rope = std::get_if<RopeOp>(&op)) return rope->buffer == in && rope->head_dim == attention.head_dim;
  if (const auto* write = std::get_if<WriteKvOp>(&op)) return write->in == in;
  return false;
}

}  // namespace

void RepeatRowwise(Graph* graph) {
  std::vector<Stretch> stretches = RowwiseStretches(*graph);
  // What is written by repeated ops alone: begin with all, take away until nothing changes.
  for (BufferSpec& buffer : graph->buffers) buffer.own = true;
  for (const Op& op : graph->ops)
    if (!IsRowwise(op.op))
      for (const BufferId id : BuffersOf(op.op).writes) graph->buffers[static_cast<size_t>(id)].own = false;
  for (bool changed = true; changed;) {
    changed = false;
    for (Stretch& stretch : stretches) {
      if (!stretch.repeated || CanRepeat(*graph, stretch)) continue;
      stretch.repeated = false;
      changed = true;
      for (size_t i = stretch.begin; i < stretch.end; ++i)
        for (const BufferId id : BuffersOf(graph->ops[i].op).writes) graph->buffers[static_cast<size_t>(id)].own = false;
    }
  }
  for (const Stretch& stretch : stretches) {
    for (size_t i = stretch.begin; i < stretch.end; ++i) graph->ops[i].repeated = stretch.repeated;
    if (stretch.end == graph->ops.size()) continue;
    Op& next = graph->ops[stretch.end];
    if (stretch.repeated) {
      // A slower worker may still read here what the next op writes.
      const std::vector<BufferId> writes = BuffersOf(next.op).writes;
      const auto written = [&](BufferId id) { return std::find(writes.begin(), writes.end(), id) != writes.end(); };
      bool reads_them = IsRowwise(next.op);
      for (size_t i = stretch.begin; i < stretch.end; ++i)
        for (const BufferId id : BuffersOf(graph->ops[i].op).reads) reads_them |= written(id);
      next.barrier_before_one = reads_them;
    } else if (const auto* attention = std::get_if<AttentionOp>(&next.op)) {
      bool all = true;
      for (size_t i = stretch.begin; i < stretch.end; ++i) all &= PreparesHeads(graph->ops[i].op, *attention);
      for (size_t i = stretch.begin; i <= stretch.end && all; ++i) graph->ops[i].heads_of = static_cast<int>(stretch.end);
    }
  }
}

void PlanBuffers(Graph* graph) {
  struct Life {
    size_t first = SIZE_MAX, last = 0;
  };
  // Time is counted in barriers: within a stretch without one, workers are at different ops, so nothing born there may reuse what
  // dies there.
  std::vector<Life> lives(graph->buffers.size());
  size_t stage = 0;
  for (size_t i = 0; i < graph->ops.size(); ++i) {
    // In a step of one row heads_of may take a barrier away as well.
    stage += graph->ops[i].barrier_before_one && !(graph->ops[i].heads_of == static_cast<int>(i));
    const OpBuffers buffers = BuffersOf(graph->ops[i].op);
    for (const auto* list : {&buffers.reads, &buffers.writes})
      for (const BufferId id : *list) {
        Life& life = lives[static_cast<size_t>(id)];
        life.first = std::min(life.first, stage);
        life.last = std::max(life.last, stage);
      }
  }
  if (graph->logits >= 0) lives[static_cast<size_t>(graph->logits)].last = SIZE_MAX;
  // First fit in order of birth, in two arenas: token rows and logits rows.
  std::vector<size_t> order;
  for (size_t i = 0; i < lives.size(); ++i)
    if (lives[i].first != SIZE_MAX) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return lives[a].first < lives[b].first; });
  std::vector<size_t> placed;
  for (const size_t id : order) {
    BufferSpec& buffer = graph->buffers[id];
    std::vector<std::pair<int64_t, int64_t>> taken;
    for (const size_t other : placed) {
      const BufferSpec& o = graph->buffers[other];
      const bool overlap = lives[other].first <= lives[id].last && lives[id].first <= lives[other].last;
      if (overlap && o.logits_rows == buffer.logits_rows) taken.emplace_back(o.offset, o.offset + o.width);
    }
    std::sort(taken.begin(), taken.end());
    int64_t at = 0;
    for (const auto& [begin, end] : taken) {
      if (at + buffer.width <= begin) break;
      at = std::max(at, end);
    }
    buffer.offset = at;
    int64_t& total = buffer.logits_rows ? graph->floats_per_logits_row : graph->floats_per_row;
    total = std::max(total, at + buffer.width);
    placed.push_back(id);
  }
}

}  // namespace nibble
