// SPDX-License-Identifier: Apache-2.0
// Walks a graph on the CPU: every worker of the team goes through the list inside one region, dividing each op's rows, strips or
// heads.
#pragma once

#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_team.h"
#include "comm/communicator.h"
#include "graph/graph.h"
#include "graph/weights.h"
#include "kernels/cpu/attention/attention.h"
#include "kernels/strip_queue.h"
#include "kv_cache/paged_cache.h"

namespace nibble {

inline float Softplus(float x) { return x > 20 ? x : std::log1p(std::exp(x)); }

// The tokens of one step. All spans have one entry per row unless said.
struct StepInput {
  std::span<const int32_t> ids, positions;
  std::span<const int32_t> sequence;                       // index into lengths and the like
  std::span<const std::span<const int32_t>> block_tables;  // per group of the cache, per sequence: its pages, -1 where given back
  std::span<const std::span<const int32_t>> end_pages;     // per sequence: kEndPages of PagedCache::ends(), where it has them
  std::span<const int32_t> lengths;                        // per sequence: all its tokens, of the prompt's later chunks too
  std::span<const int32_t> prompts;                        // per sequence: the tokens of its prompt; for dynamic scaling
  std::span<const int32_t> logits_rows;                    // rows whose logits are wanted, ascending
  std::span<const int32_t> slots;                          // per sequence: its slot of PagedCache::slots(), where it has them
  int64_t rows() const { return static_cast<int64_t>(ids.size()); }
};

struct OpTime {
  std::string kind;
  double seconds = 0;
};

class CpuExecutor {
 public:
  // Takes the graph after its passes. max_rows: most rows of a step; max_logits: most logits rows. `comm` may be null (one rank).
  CpuExecutor(Graph graph, BoundWeights weights, Isa isa, PagedCache* cache, std::shared_ptr<ThreadTeam> team, Communicator* comm,
              int64_t max_rows, int64_t max_logits);

  // Runs one step. The result, [logits_rows, vocab], stays valid until the next one. rows <= max_rows, positions within the block
  // tables.
  const float* Run(const StepInput& step);

  const Graph& graph() const { return graph_; }
  const BoundWeights& weights() const { return weights_; }
  int64_t max_rows() const { return max_rows_; }
  int64_t max_logits() const { return max_logits_; }
  static int64_t ScratchBytes(const Graph& graph, int64_t max_rows, int64_t max_logits);

  // State of a buffer after the last step, for tests: only valid if no later op reused its space.
  const float* buffer(BufferId id) const { return Data(id, workers_[0]); }
  // Time per op kind, worker 0, summed while enabled.
  void EnableProfile(bool on) { profile_ = on; }
  std::vector<OpTime> TakeProfile();

 private:
  // Rows of one sequence and query heads that share a kv head; queries are numbered row by row.
  struct AttentionUnit {
    Range rows;
    int64_t kv_head;
    Range heads;
    Range seen;  // positions, of all rows together
    int64_t queries() const { return rows.size() * heads.size(); }
    int64_t first_stretch() const { return seen.begin / kStretch * kStretch; }
  };
  struct Worker {
    int index;
    // Of the current op, in a step of one row: Op::repeated; Op::heads_of, -1 where heads are not divided.
    bool repeats = false;
    int heads_of = -1;
    Buffer own;  // BufferSpec::own of workers but the first: one row
    std::vector<float> row, unbiased, transformed;
    // Attention of one unit: see cpu_attention.cc.
    std::vector<AttentionUnit> units;
    Buffer queries, scores, sums, kv_rows;
    std::vector<float> slopes;
    std::vector<std::byte> kv_row, x_codes;
    std::vector<Range> seen;
    std::vector<int64_t> last;
    Buffer linear;  // kLinearScratchBytes, aligned: panels that straddle cache lines are read at half the speed
    std::vector<LinearArgs> args;
  };

  // As the worker sees it: its own copy, where it has one in this step.
  float* Data(BufferId id, const Worker& w) const;
  int64_t Width(BufferId id) const { return graph_.buffers[static_cast<size_t>(id)].width; }
  // Rows of this op in this step, and this worker's share of them.
  int64_t RowCount(const Op& op) const { return op.logits_rows ? static_cast<int64_t>(step_->logits_rows.size()) : step_->rows(); }
  Range MyRows(int64_t rows, const Worker& w) const {
    return w.repeats || w.heads_of >= 0 ? Range{0, rows} : SplitRange(rows, w.index, team_->size());
  }
  bool MyHead(int64_t kv_head, const Worker& w) const { return w.heads_of < 0 || kv_head % team_->size() == w.index; }
  // Whether the head that begins at `column` of the attention's input is this worker's: goes with its K/V head.
  bool MyColumns(int64_t column, const Worker& w) const;
  // In this step workers divide the K/V heads of attention op `heads_of`, if one is named.
  bool DividesHeads(int heads_of) const;

  void Walk(int worker);
  void FillRopeTables(const Worker& w);
  void RunOp(const EmbedOp& op, int64_t rows, Worker& w);
  void RunOp(const PositionsOp& op, int64_t rows, Worker& w);
  void RunOp(const CopyColumnsOp& op, int64_t rows, Worker& w);
  void RunOp(const ClampOp& op, int64_t rows, Worker& w);
  void RunOp(const MulOp& op, int64_t rows, Worker& w);
  void RunOp(const ScaleByOp& op, int64_t rows, Worker& w);
  void RunOp(const XieluOp& op, int64_t rows, Worker& w);
  void RunOp(const PositionScaleOp& op, int64_t rows, Worker& w);
  void RunOp(const NormOp& op, int64_t rows, Worker& w);
  void RunOp(const LinearOp& op, int64_t rows, Worker& w);
  void RunOp(const PrepareOp& op, int64_t rows, Worker& w);
  void RunOp(const FinishOp& op, int64_t rows, Worker& w);
  void RunOp(const LatentOp& op, int64_t rows, Worker& w);
  void RunOp(const SelectColumnsOp& op, int64_t rows, Worker& w);
  void RunOp(const RopeOp& op, int64_t rows, Worker& w);
  void RunOp(const WriteKvOp& op, int64_t rows, Worker& w);
  void RunOp(const AttentionOp& op, int64_t rows, Worker& w);
  void RunOp(const ShortConvOp& op, int64_t rows, Worker& w);
  void RunOp(const GatedDeltaOp& op, int64_t rows, Worker& w);
  void RunOp(const LightningOp& op, int64_t rows, Worker& w);
  void RunOp(const GatedOp& op, int64_t rows, Worker& w);
  void RunOp(const MoeOp& op, int64_t rows, Worker& w);
  void RunOp(const AddOp& op, int64_t rows, Worker& w);
  void RunOp(const AllReduceOp& op, int64_t rows, Worker& w);
  void RunOp(const AllGatherOp& op, int64_t rows, Worker& w);
  void RunOp(const GatherRowsOp& op, int64_t rows, Worker& w);
  void RunOp(const SoftcapOp& op, int64_t rows, Worker& w);

  // Rows of `in` -> the same rows of `out`, a block of `count` rows (integer forms lay rows side by side).
  void PrepareRows(const PackedWeight::Input& input, const float* in, int64_t width, Range rows, int64_t count, float* out,
                   Worker& w);
  // The same for a scale that rows of one position share.
  void PreparePositions(const PackedWeight::Input& input, const float* in, int64_t width, int64_t count, Range rows, float* out,
                        Worker& w);
  // The same for a scale that rows `tensor` of `in` share.
  void PrepareTensor(const PackedWeight::Input& input, const float* in, int64_t width, Range tensor, Range rows, int64_t count,
                     float* out, Worker& w);
  // Low-rank terms, transforms and bias of one row of y.
  void FinishRow(const PackedWeight& packed, std::span<const PackedWeight::Input> inputs, Range columns, const float* x,
                 int64_t width, float* y, Worker& w);
  void EncodeKv(const KvFormat& format, const float* x, int64_t width, const KvRule& rule, int64_t head, std::byte* out, Worker& w);
  struct KvSlot {
    int layer;
    int32_t page;
    int64_t head, slot;
  };
  KvSlot SlotOf(int layer, int32_t sequence, int64_t position, int64_t head) const;
  KvSlot EndSlotOf(int layer, int32_t sequence, int64_t position, int64_t head) const;
  void StoreKv(PagedCache& cache, const KvSlot& at, const float* k, const float* v, Worker& w);
  void LoadKv(PagedCache& cache, const KvSlot& at, float* k_page, float* v, Worker& w);
  Range SeenBy(const AttentionOp& op, int64_t row) const;  // positions
  bool ReadsElements(const AttentionOp& op) const;         // of the cache, as they lie
  void FindUnits(const AttentionOp& op, int64_t count, Worker& w) const;
  void GatherQueries(const AttentionOp& op, const AttentionUnit& unit, Worker& w);
  void AttendRows(const AttentionOp& op, const AttentionUnit& unit, Range rows, int64_t begin, AttentionStretch s,
                  const AttentionSums& partial, Worker& w);
  void AttendDecoded(const AttentionOp& op, const AttentionUnit& unit, int64_t begin, AttentionStretch s,
                     const AttentionSums& partial, Worker& w);
  void AttendStretch(const AttentionOp& op, const AttentionUnit& unit, int64_t begin, const AttentionSums& partial, Worker& w);
  void FinishQueries(const AttentionOp& op, const AttentionUnit& unit, Range queries, const AttentionSums& sums, const Worker& w);
  void AttendSplit(const AttentionOp& op, Worker& w);
  // run(rows of a sequence, part) for this worker's share of all (sequence, part) of a step.
  template <typename Part>
  void EachSequencePart(int64_t rows, int64_t parts, const Worker& w, const Part& run) const;
  // A layer's state of the sequence of `row`, and whether it begins with zeros there.
  struct SlotState {
    float* state;
    bool fresh;
  };
  SlotState StateAt(int layer, int64_t row) const;
  void Convolve(const ShortConvOp& op, Range rows, Range channels, Worker& w);
  // A row at one of its experts, and the expert's weight for it.
  struct ExpertRow {
    int32_t row;
    float weight;
  };
  // The rows of one expert in MoeScratch::rows.
  struct ExpertGroup {
    const BoundExpert* expert;
    Range rows;
  };
  // Of the current MoE op.
  struct MoeScratch {
    std::vector<int32_t> chosen;       // [rows, top_k]
    std::vector<float> chosen_weight;  // [rows, top_k]
    std::vector<ExpertRow> rows;       // by expert, then by row
    std::vector<ExpertGroup> groups;
    std::vector<float> in, prepared, mid, act, out;  // rows of a pass
  };
  void RunGate(const GateRule& rule, const float* gate, const float* up, int64_t width, float* out) const;
  static int64_t ArenaBytes(const Graph& graph, int64_t max_rows, int64_t max_logits);
  static int64_t MoeScratchBytes(const MoeSpec& spec, int64_t max_rows);
  void Route(const MoeSpec& spec, const float* logits, int64_t row);
  void GroupRows(const MoeSpec& spec, const std::vector<BoundExpert>& experts, int64_t count);
  void RunPass(const MoeSpec& spec, const MoeOp& op, std::span<const ExpertGroup> pass, Range rows, Worker& w);
  void MultiplyGroups(std::span<const ExpertGroup> pass, PackedWeight BoundExpert::*which, const float* x, float* y, Worker& w);
  void PrepareGroups(std::span<const ExpertGroup> pass, PackedWeight BoundExpert::*which, size_t input, const float* x, Worker& w);

  Graph graph_;
  BoundWeights weights_;
  const CpuOps& ops_;
  const AttentionKernels& attention_;
  PagedCache* cache_;
  std::shared_ptr<ThreadTeam> team_;
  StripQueue queue_;
  Communicator* comm_;
  const int64_t max_rows_, max_logits_;
  Buffer arena_;  // token rows, then logits rows
  std::vector<Worker> workers_;
  std::vector<std::vector<float>> rope_cos_, rope_sin_;  // per rope: [rows, half]
  MoeScratch moe_;
  Buffer attention_partials_;  // of units whose stretches are divided among workers
  const StepInput* step_ = nullptr;
  bool one_row_ = false;  // the step has one row and several workers
  bool profile_ = false;
  std::vector<double> seconds_;  // by op kind
};

}  // namespace nibble
