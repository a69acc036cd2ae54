// SPDX-License-Identifier: Apache-2.0
#include "graph/cpu_executor.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "formats/activation.h"
#include "formats/transform.h"
#include "graph/passes.h"
#include "kernels/x_codes.h"
#include "tensors/scalar.h"

namespace nibble {

CpuExecutor::CpuExecutor(Graph graph, BoundWeights weights, Isa isa, PagedCache* cache, std::shared_ptr<ThreadTeam> team,
                         Communicator* comm, int64_t max_rows, int64_t max_logits)
    : graph_(std::move(graph)),
      weights_(std::move(weights)),
      ops_(OpsFor(isa)),
      attention_(AttentionFor(isa)),
      cache_(cache),
      team_(std::move(team)),
      queue_(team_->size()),
      comm_(comm),
      max_rows_(max_rows),
      max_logits_(max_logits),
      arena_(ArenaBytes(graph_, max_rows, max_logits)),
      seconds_(std::variant_size_v<AnyOp>) {
  for (int i = 0; i < team_->size(); ++i) {
    Worker worker{.index = i};
    worker.linear = Buffer(kLinearScratchBytes);
    if (i > 0) worker.own = Buffer(ArenaBytes(graph_, 1, 1));
    workers_.push_back(std::move(worker));
  }
  for (const RopeSpec& rope : graph_.ropes) {
    rope_cos_.emplace_back(static_cast<size_t>(max_rows * rope.rotary_dims / 2));
    rope_sin_.emplace_back(rope_cos_.back().size());
  }
}

int64_t CpuExecutor::ArenaBytes(const Graph& graph, int64_t max_rows, int64_t max_logits) {
  return (graph.floats_per_row * max_rows + graph.floats_per_logits_row * max_logits) * static_cast<int64_t>(sizeof(float));
}

int64_t CpuExecutor::ScratchBytes(const Graph& graph, int64_t max_rows, int64_t max_logits) {
  int64_t moe = 0;
  for (const MoeSpec& spec : graph.moes) moe = std::max(moe, MoeScratchBytes(spec, max_rows));
  return ArenaBytes(graph, max_rows, max_logits) + moe;
}

float* CpuExecutor::Data(BufferId id, const Worker& w) const {
  const BufferSpec& buffer = graph_.buffers[static_cast<size_t>(id)];
  const bool own = one_row_ && buffer.own && w.index > 0;
  const int64_t rows = own ? 1 : max_rows_, logits = own ? 1 : max_logits_;
  auto* base = reinterpret_cast<float*>(const_cast<std::byte*>((own ? w.own : arena_).data()));
  return buffer.logits_rows ? base + graph_.floats_per_row * rows + buffer.offset * logits : base + buffer.offset * rows;
}

bool CpuExecutor::DividesHeads(int heads_of) const {
  if (!one_row_ || heads_of < 0) return false;
  const auto& attention = std::get<AttentionOp>(graph_.ops[static_cast<size_t>(heads_of)].op);
  return cache_->layer(attention.layer).heads % team_->size() == 0;
}

bool CpuExecutor::MyColumns(int64_t column, const Worker& w) const {
  if (w.heads_of < 0) return true;
  const auto& attention = std::get<AttentionOp>(graph_.ops[static_cast<size_t>(w.heads_of)].op);
  const LayerState& state = cache_->layer(attention.layer);
  const auto head = [&](int64_t begin, int64_t width) {
    return column >= begin && column < begin + state.heads * width ? (column - begin) / width : -1;
  };
  for (int i = w.heads_of - 1; i >= 0 && graph_.ops[static_cast<size_t>(i)].heads_of == w.heads_of; --i) {
    const auto* write = std::get_if<WriteKvOp>(&graph_.ops[static_cast<size_t>(i)].op);
    if (!write) continue;
    const int64_t found = std::max(head(write->k_begin, state.k_dim), head(write->v_begin, state.v_dim));
    if (found >= 0) return MyHead(found, w);
  }
  return MyHead(head(attention.q_begin, attention.heads / state.heads * attention.head_dim), w);
}

const float* CpuExecutor::Run(const StepInput& step) {
  NIBBLE_CHECK(step.rows() <= max_rows_ && static_cast<int64_t>(step.logits_rows.size()) <= max_logits_,
               "rows {} of {}, logits {} of {}", step.rows(), max_rows_, step.logits_rows.size(), max_logits_);
  step_ = &step;
  one_row_ = step.rows() == 1 && team_->size() > 1;
  team_->Run([this](int worker) { Walk(worker); });
  step_ = nullptr;
  return Data(graph_.logits, workers_[0]);
}

void CpuExecutor::Walk(int index) {
  Worker& worker = workers_[static_cast<size_t>(index)];
  FillRopeTables(worker);
  auto before = std::chrono::steady_clock::now();
  for (const Op& op : graph_.ops) {
    const bool heads = DividesHeads(op.heads_of), attends = std::holds_alternative<AttentionOp>(op.op);
    if (one_row_ ? op.barrier_before_one && !(heads && attends) : op.barrier_before) team_->Barrier();
    worker.repeats = one_row_ && op.repeated;
    worker.heads_of = heads ? op.heads_of : -1;
    if (op.logits_rows && step_->logits_rows.empty()) continue;
    std::visit([&](const auto& kind) { RunOp(kind, RowCount(op), worker); }, op.op);
    if (!profile_ || index != 0) continue;
    const auto now = std::chrono::steady_clock::now();
    seconds_[op.op.index()] += std::chrono::duration<double>(now - before).count();
    before = now;
  }
}

std::vector<OpTime> CpuExecutor::TakeProfile() {
  std::vector<OpTime> times;
  for (const Op& op : graph_.ops) {
    double& seconds = seconds_[op.op.index()];
    if (seconds > 0) times.push_back({OpKindName(op.op), seconds});
    seconds = 0;
  }
  return times;
}

void CpuExecutor::PrepareRows(const PackedWeight::Input& input, const float* in, int64_t width, Range rows, int64_t count,
                              float* out, Worker& w) {
  const bool codes = input.form != XForm::kF32;
  w.row.resize(static_cast<size_t>(width));
  if (codes && !input.transforms.empty()) w.transformed.resize(static_cast<size_t>(width));
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* x = in + row * width;
    float* y = codes ? w.transformed.data() : out + row * width;
    if (!codes || !input.transforms.empty()) {
      std::memcpy(y, x, static_cast<size_t>(width) * sizeof(float));
      x = y;
    }
    if (!input.transforms.empty()) {
      const Status applied = ApplyTransforms(input.transforms, y, width, w.row.data());
      NIBBLE_CHECK(applied.has_value(), "checked at load: {}", applied.error().message);
    }
    if (codes)
      WriteXCodes(input.form, input.act, x, width, row, count, reinterpret_cast<std::byte*>(out), &w.x_codes);
    else if (input.act.grain != ActivationSpec::kNone)
      QuantizeActivationRow(input.act, y, width, y, nullptr, nullptr);
  }
}

// LLM.int8: columns with an outlier in any row of `all` [tensor rows] stay as they are in rows [rows] of it; out [rows].
static void KeepOutlierColumns(float threshold, const float* all, int64_t tensor_rows, int64_t width, Range rows, float* out) {
  std::vector<char> outlier(static_cast<size_t>(width));
  for (int64_t i = 0; i < tensor_rows * width; ++i)
    if (std::fabs(F16ToF32(F32ToF16(all[i]))) >= threshold) outlier[static_cast<size_t>(i % width)] = 1;
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t i = 0; i < width; ++i)
      if (outlier[static_cast<size_t>(i)]) out[(row - rows.begin) * width + i] = all[row * width + i];
}

void CpuExecutor::PrepareTensor(const PackedWeight::Input& input, const float* in, int64_t width, Range tensor, Range rows,
                                int64_t count, float* out, Worker& w) {
  PackedWeight::Input transformed{.transforms = input.transforms};
  std::vector<float> all(static_cast<size_t>(tensor.size() * width));
  PrepareRows(transformed, in + tensor.begin * width, width, {0, tensor.size()}, tensor.size(), all.data(), w);
  PackedWeight::Input fixed{.act = FixTensorScale(input.act, all.data(), tensor.size() * width), .form = input.form};
  PrepareRows(fixed, all.data() - tensor.begin * width, width, rows, count, out, w);
  if (const float threshold = input.act.outlier_threshold; threshold > 0 && std::isfinite(threshold))
    KeepOutlierColumns(threshold, all.data(), tensor.size(), width, {rows.begin - tensor.begin, rows.end - tensor.begin},
                       out + rows.begin * width);
}

void CpuExecutor::PreparePositions(const PackedWeight::Input& input, const float* in, int64_t width, int64_t count, Range rows,
                                   float* out, Worker& w) {
  const bool all_rows = count == step_->rows();
  const auto position = [&](int64_t row) {
    return step_->positions[static_cast<size_t>(all_rows ? row : step_->logits_rows[static_cast<size_t>(row)])];
  };
  const PackedWeight::Input transformed{.transforms = input.transforms};
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    std::vector<float> same, one(static_cast<size_t>(width));
    for (int64_t other = 0; other < count; ++other) {
      if (position(other) != position(row)) continue;
      PrepareRows(transformed, in + other * width, width, {0, 1}, 1, one.data(), w);
      if (other == row) std::copy(one.begin(), one.end(), out + row * width);
      same.insert(same.end(), one.begin(), one.end());
    }
    ActivationSpec shared = input.act;
    shared.grain = ActivationSpec::kTensor;
    const PackedWeight::Input fixed{.act = FixTensorScale(shared, same.data(), static_cast<int64_t>(same.size()))};
    PrepareRows(fixed, std::vector<float>(out + row * width, out + (row + 1) * width).data(), width, {0, 1}, 1, out + row * width,
                w);
  }
}

void CpuExecutor::RunOp(const PrepareOp& op, int64_t count, Worker& w) {
  const PackedWeight::Input& input = weights_.linears[static_cast<size_t>(op.linear)].input(static_cast<size_t>(op.input));
  const Range mine = MyRows(count, w);
  if (!op.all_rows) return PrepareRows(input, Data(op.in, w), Width(op.in), mine, count, Data(op.out, w), w);
  if (graph_.batch_scales && SharesPositions(input.act))
    return PreparePositions(input, Data(op.in, w), Width(op.in), count, mine, Data(op.out, w), w);
  // One scale for all rows of a sequence, which stand together; not of the step, whose other sequences are none of its business,
  // unless somebody asked to do as the tools do.
  const bool all_rows = count == step_->rows();
  const auto sequence = [&](int64_t row) {
    return step_->sequence[static_cast<size_t>(all_rows ? row : step_->logits_rows[static_cast<size_t>(row)])];
  };
  for (int64_t row = mine.begin; row < mine.end;) {
    Range tensor{row, row + 1};
    if (graph_.batch_scales) tensor = {0, count};
    while (tensor.begin > 0 && sequence(tensor.begin - 1) == sequence(row)) --tensor.begin;
    while (tensor.end < count && sequence(tensor.end) == sequence(row)) ++tensor.end;
    const Range rows{row, std::min(tensor.end, mine.end)};
    PrepareTensor(input, Data(op.in, w), Width(op.in), tensor, rows, count, Data(op.out, w), w);
    row = rows.end;
  }
}

void CpuExecutor::RunOp(const LinearOp& op, int64_t count, Worker& w) {
  const BoundLinear& linear = weights_.linears[static_cast<size_t>(op.linear)];
  if (linear.packed.segments.empty()) {  // another rank computes this layer
    const Range rows = MyRows(count, w);
    std::fill(Data(op.out, w) + rows.begin * Width(op.out), Data(op.out, w) + rows.end * Width(op.out), 0.0f);
    return;
  }
  w.args.resize(linear.packed.inputs.size());
  for (size_t i = 0; i < w.args.size(); ++i) {
    const BufferId in = op.prepared.empty() ? op.in : op.prepared[linear.gather ? 0 : i];
    w.args[i] = {Data(in, w) + linear.column_begin, Width(in), Data(op.out, w), Width(op.out), count};
  }
  // With more rows each call prepares x, so pieces begin large.
  const int64_t strips = linear.packed.strips();
  const int64_t piece = count == 1 ? StripQueue::kOneRow : std::max(strips / (2 * team_->size()), StripQueue::kOneRow);
  queue_.Begin(w.index, strips);
  for (Range mine; !(mine = queue_.Next(w.index, piece)).empty();) RunStrips(linear.packed, w.args, mine, w.linear.data());
}

void CpuExecutor::FinishRow(const PackedWeight& packed, std::span<const PackedWeight::Input> inputs, Range columns, const float* x,
                            int64_t width, float* y, Worker& w) {
  for (const PackedWeight::Output& output : packed.outputs) {
    float* part = y + output.n_begin;
    w.row.resize(static_cast<size_t>(std::max(width, output.n)));
    if (!output.transforms.empty()) {
      const Status applied = ApplyTransforms(output.transforms, part, output.n, w.row.data());
      NIBBLE_CHECK(applied.has_value(), "checked at load: {}", applied.error().message);
    }
    if (output.rank > 0) {
      const PackedWeight::Input input{.transforms = inputs[static_cast<size_t>(output.input)].transforms};
      w.transformed.resize(static_cast<size_t>(width));
      PrepareRows(input, x, width, {0, 1}, 1, w.transformed.data(), w);
      AddLowRank(output, w.transformed.data() + columns.begin, columns.size(), part, &w.row);
    }
    for (size_t i = 0; i < output.bias.size(); ++i) part[i] += output.bias[i];
    if (output.act.grain != ActivationSpec::kNone) QuantizeActivationRow(output.act, part, output.n, part, nullptr, nullptr);
  }
}

void CpuExecutor::RunOp(const FinishOp& op, int64_t count, Worker& w) {
  const BoundLinear& linear = weights_.linears[static_cast<size_t>(op.linear)];
  const std::span<const PackedWeight::Input> inputs = linear.gather ? std::span(&linear.whole, 1) : std::span(linear.packed.inputs);
  const Range rows = MyRows(count, w), columns{linear.column_begin, linear.column_begin + linear.packed.k};
  for (int64_t row = rows.begin; row < rows.end; ++row)
    FinishRow(linear.packed, inputs, columns, Data(op.in, w) + row * Width(op.in), Width(op.in),
              Data(op.buffer, w) + row * Width(op.buffer), w);
}

// Heads are divided among workers: there are many of them.
void CpuExecutor::RunOp(const LatentOp& op, int64_t count, Worker& w) {
  const BoundLinear& linear = weights_.linears[static_cast<size_t>(op.linear)];
  const std::vector<PackedWeight>& heads = op.values ? linear.latent_values : linear.latent_keys;
  for (size_t head = static_cast<size_t>(w.index); head < heads.size(); head += static_cast<size_t>(team_->size())) {
    const auto at = static_cast<int64_t>(head);
    const LinearArgs args{Data(op.in, w) + at * op.in_stride, Width(op.in), Data(op.out, w) + at * op.out_stride, Width(op.out),
                          count};
    RunLinear(heads[head], {&args, 1}, 0, 1, w.linear.data());
  }
}

void CpuExecutor::RunOp(const SelectColumnsOp& op, int64_t count, Worker& w) {
  const Range rows = MyRows(count, w);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    float* out = Data(op.out, w) + row * Width(op.out);
    for (const Range& columns : weights_.linears[static_cast<size_t>(op.linear)].keep_columns)
      out = std::copy_n(Data(op.in, w) + row * Width(op.in) + columns.begin, columns.size(), out);
  }
}

void CpuExecutor::RunOp(const AllReduceOp& op, int64_t count, Worker& w) {
  if (w.index == 0) comm_->AllReduceSum(Data(op.buffer, w), count * Width(op.buffer));
}

void CpuExecutor::RunOp(const AllGatherOp& op, int64_t count, Worker& w) {
  if (w.index == 0) comm_->AllGather(Data(op.in, w), count, Width(op.in), Data(op.out, w));
}

void CpuExecutor::RunOp(const GatherRowsOp& op, int64_t count, Worker& w) {
  const int64_t width = Width(op.in);
  const Range rows = MyRows(count, w);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    std::memcpy(Data(op.out, w) + row * width, Data(op.in, w) + step_->logits_rows[static_cast<size_t>(row)] * width,
                static_cast<size_t>(width) * sizeof(float));
}

}  // namespace nibble
