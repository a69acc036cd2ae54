// SPDX-License-Identifier: Apache-2.0
// The engine: a loaded model, its K/V cache and a scheduler that advances any number of sequences of different lengths together
// (continuous batching). Pages of equal beginnings are shared. All kernels sum in one order whatever the batch, so a sequence's
// numbers do not depend on what else is in it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/plan.h"
#include "engine/sampler.h"
#include "graph/cpu_executor.h"
#include "models/loader.h"

namespace nibble {

struct EngineOptions {
  LoadOptions load;
  int threads = 0;                    // 0: all cores this process may use; divided among ranks
  std::optional<KvFormats> kv_dtype;  // unset: auto, see KvDType
  DType kv_auto = DType::kBF16;       // what auto means when the checkpoint says nothing
  int64_t context = 0;                // positions of one sequence; 0: the model's, cut to what memory allows
  int64_t max_sequences = 1;          // the cache holds this many whole contexts
  int64_t batch_rows = kBatchRows;    // tokens of one step
  int64_t logits_rows = 64;           // most logits of one step
  bool share_prefixes = true;
};

using SequenceId = int64_t;

// Why a sequence ended.
enum class Finish : uint8_t { kNone, kEos, kLength, kContext, kStopped };
const char* FinishName(Finish finish);

class Engine {
 public:
  // Plans memory first: a model that does not fit is ResourceExhausted before anything is allocated.
  static Result<std::unique_ptr<Engine>> Open(std::unique_ptr<Checkpoint> checkpoint, const EngineOptions& options,
                                              Progress* progress = nullptr);

  struct Request {
    std::vector<int32_t> prompt;  // not empty
    int64_t max_tokens = -1;      // generated; -1: to the end of the context
    SamplingParams sampling;
    std::vector<int32_t> eos;  // tokens that end the sequence (not delivered)
    // Each generated token; false ends the sequence (stop string).
    std::function<bool(int32_t token)> on_token;
    // When set, nothing is generated: logits of every prompt position, in order, valid during the call.
    std::function<void(int64_t position, const float* logits)> on_logits;
    std::function<void(Finish)> on_finish;
  };
  // Usage error for empty prompts and prompts longer than the context; corrupt: tokens outside the vocabulary.
  Result<SequenceId> Add(Request request);
  // Ends a sequence, waiting or running, with Finish::kStopped; one that is not there (any more) is ignored. From inside a callback
  // it takes effect at once for what is delivered, and on_finish comes at the end of the step.
  void Cancel(SequenceId id);
  bool idle() const { return waiting_.empty() && running_.empty(); }
  // One step of the batch. Cancelled when StopRequested.
  Status Step();
  Status RunUntilIdle();

  const Checkpoint& checkpoint() const { return *checkpoint_; }
  const ModelConfig& config() const { return config_; }
  const Graph& graph(int rank = 0) const { return executors_[static_cast<size_t>(rank)]->graph(); }
  const BoundWeights& weights(int rank = 0) const { return executors_[static_cast<size_t>(rank)]->weights(); }
  int64_t context() const { return context_; }
  int64_t vocab() const { return graph().vocab; }
  int threads() const { return threads_; }
  const KvFormats& kv_dtype() const { return caches_[0]->formats(); }
  int64_t packed_bytes() const { return packed_bytes_; }
  const MemoryPlan& plan() const { return plan_; }
  // "context cut to 4096 of 32768 to fit memory" and the like; empty when nothing had to give.
  const std::string& note() const { return note_; }
  int64_t shared_tokens() const { return shared_tokens_; }  // prompt tokens taken from shared pages so far
  CpuExecutor& executor(int rank = 0) { return *executors_[static_cast<size_t>(rank)]; }

 private:
  struct Sequence {
    SequenceId id = 0;
    Request request;
    Sampler sampler{SamplingParams{}};
    std::vector<int32_t> tokens;  // prompt and generated
    int64_t prompt_size = 0, computed = 0, published = 0;
    uint64_t angles = 0;                      // AnglesOf it when its computation began
    uint64_t page_hash = 0;                   // of the last published page; `angles` before the first
    std::vector<std::vector<int32_t>> pages;  // by group of the cache; -1 where the window has left
    std::vector<int32_t> end_pages;
    int32_t slot = -1;  // of PagedCache::slots()
    bool scoring() const { return static_cast<bool>(request.on_logits); }
  };
  struct Chunk {
    Sequence* sequence;
    int64_t begin, size;
  };

  Engine() = default;
  Status MakeExecutors(LoadedModel model, const EngineOptions& options, KvFormats kv_dtype,
                       const std::vector<std::shared_ptr<ThreadTeam>>& teams);
  bool HasRoomFor(const Sequence& sequence);
  void Admit();
  uint64_t AnglesOf(const Sequence& s) const;
  void BeginSequence(Sequence* sequence);
  void RestartOutgrown();
  void TakeSharedPages(Sequence* sequence);
  bool GrowPages(Sequence* sequence, int64_t positions);
  void ReleasePages(Sequence* sequence);
  void PreemptLast();
  void GiveBackPages(Sequence* sequence);
  std::vector<Chunk> Schedule();
  void Deliver(Sequence* sequence, int64_t position, const float* logits);
  void PublishPages(Sequence* sequence);
  void End(Sequence* sequence, Finish finish);

  std::unique_ptr<Checkpoint> checkpoint_;
  ModelConfig config_;
  MemoryPlan plan_;
  std::string note_;
  int64_t context_ = 0, batch_rows_ = 0, logits_rows_ = 0, packed_bytes_ = 0, shared_tokens_ = 0;
  int threads_ = 1;
  bool share_prefixes_ = true;
  std::vector<std::unique_ptr<Communicator>> comms_;
  std::vector<std::unique_ptr<PagedCache>> caches_;  // page numbers are those of rank 0
  std::vector<std::unique_ptr<CpuExecutor>> executors_;
  std::unique_ptr<ThreadTeam> rank_team_;  // one worker a rank
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // oldest first
  SequenceId next_id_ = 1;
  bool delivering_ = false;            // callbacks are running: sequences must not go away
  std::vector<SequenceId> cancelled_;  // meanwhile
};

}  // namespace nibble
