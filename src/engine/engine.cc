// SPDX-License-Identifier: Apache-2.0
// Opening an engine and the life of sequences; the step itself is in scheduler.cc.
#include "engine/engine.h"

#include <algorithm>

#include "base/log.h"

namespace nibble {
namespace {

constexpr int64_t kReserveBytes = int64_t{64} << 20;  // left to the rest of the program and system

std::string Mib(int64_t bytes) { return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20)); }

// What the user asked for; else the checkpoint's own cache format; else what the command takes for auto.
Result<KvFormats> KvDType(const EngineOptions& options, const ModelConfig& config, const Checkpoint& checkpoint) {
  if (options.kv_dtype) return *options.kv_dtype;
  NIBBLE_TRY(const Graph graph, BuildGraph(config, 0, 1));
  NIBBLE_TRY(const std::optional<KvFormats> scheme, KvScheme(checkpoint, graph));
  return scheme.value_or(options.kv_auto);
}

}  // namespace

const char* FinishName(Finish finish) {
  switch (finish) {
    case Finish::kNone: return "running";
    case Finish::kEos: return "end of text";
    case Finish::kLength: return "token limit";
    case Finish::kContext: return "context full";
    case Finish::kStopped: return "stop string";
  }
  return "running";
}

Result<std::unique_ptr<Engine>> Engine::Open(std::unique_ptr<Checkpoint> checkpoint, const EngineOptions& options,
                                             Progress* progress) {
  auto engine = std::unique_ptr<Engine>(new Engine);
  engine->checkpoint_ = std::move(checkpoint);
  NIBBLE_TRY(engine->config_, ConfigOf(*engine->checkpoint_, options.load));
  const ModelConfig& config = engine->config_;
  engine->batch_rows_ = std::max<int64_t>(options.batch_rows, 1);
  engine->logits_rows_ = std::clamp<int64_t>(options.logits_rows, 1, engine->batch_rows_);
  engine->share_prefixes_ = options.share_prefixes;

  NIBBLE_TRY(const KvFormats kv_dtype, KvDType(options, config, *engine->checkpoint_));
  const int64_t wanted = options.context > 0 ? options.context : config.max_positions;
  NIBBLE_TRY(engine->plan_, PlanMemory(*engine->checkpoint_, config,
                                       {wanted, options.max_sequences, kv_dtype, engine->batch_rows_, engine->logits_rows_}));
  const int64_t available = AvailableMemoryBytes() - kReserveBytes;
  engine->context_ = ContextThatFits(engine->plan_, wanted, available);
  if (engine->context_ < wanted && (options.context > 0 || engine->context_ < kPageTokens))
    return Fail(Code::kResourceExhausted,
                "{}: needs {} ({} weights, {} K/V cache for {} x {} positions, {} scratch), {} are free; try {}",
                engine->checkpoint_->path(), Mib(engine->plan_.total()), Mib(engine->plan_.weights_bytes),
                Mib(engine->plan_.kv_bytes), options.max_sequences, wanted, Mib(engine->plan_.scratch_bytes), Mib(available),
                engine->context_ >= kPageTokens ? fmt::format("--context {}", engine->context_)
                                                : "a checkpoint with fewer bits, or --pack-cache DIR on a disk");
  if (engine->context_ < wanted)
    engine->note_ = fmt::format("context cut to {} of the model's {} positions to fit {} of free memory", engine->context_, wanted,
                                Mib(available));

  const int ranks = std::max(options.load.ranks, 1), total = options.threads > 0 ? options.threads : Cpu().cores;
  const int each = std::max(1, total / ranks);
  engine->threads_ = each * ranks;
  std::vector<std::shared_ptr<ThreadTeam>> teams;
  for (int rank = 0; rank < ranks; ++rank) teams.push_back(std::make_shared<ThreadTeam>(each));
  NIBBLE_TRY(LoadedModel model, LoadModel(*engine->checkpoint_, options.load, teams, progress));
  for (const std::string& layer : model.replicated) Info("computed whole instead of cut over ranks: {}", layer);
  NIBBLE_RETURN_IF_ERROR(engine->MakeExecutors(std::move(model), options, kv_dtype, teams));
  return engine;
}

Status Engine::MakeExecutors(LoadedModel model, const EngineOptions& options, KvFormats kv_dtype,
                             const std::vector<std::shared_ptr<ThreadTeam>>& teams) {
  packed_bytes_ = model.packed_bytes;
  const size_t ranks = model.graphs.size();
  if (ranks > 1) comms_ = MakeThreadCommunicators(static_cast<int>(ranks));
  rank_team_ = std::make_unique<ThreadTeam>(static_cast<int>(ranks));
  const CacheSize size{context_, std::max<int64_t>(options.max_sequences, 1), batch_rows_};
  for (size_t rank = 0; rank < ranks; ++rank) {
    NIBBLE_TRY(PagedCache cache, PagedCache::Make(model.graphs[rank].states, kv_dtype, size));
    caches_.push_back(std::make_unique<PagedCache>(std::move(cache)));
    executors_.push_back(std::make_unique<CpuExecutor>(std::move(model.graphs[rank]), std::move(model.weights[rank]),
                                                       options.load.isa, caches_.back().get(), teams[rank],
                                                       ranks > 1 ? comms_[rank].get() : nullptr, batch_rows_, logits_rows_));
  }
  return {};
}

Result<SequenceId> Engine::Add(Request request) {
  if (request.prompt.empty())
    return Usage("the prompt is empty; give at least one token (-p TEXT), or a model whose tokenizer has a BOS token");
  for (const int32_t token : request.prompt)
    if (token < 0 || token >= vocab())
      return Corrupt("token id {} is outside the vocabulary [0, {}) of this model's embedding; does the tokenizer belong to it?",
                     token, vocab());
  const auto size = static_cast<int64_t>(request.prompt.size());
  if (size > context_)
    return Usage("the prompt has {} tokens, the context holds {}; shorten it or raise --context", size, context_);
  NIBBLE_RETURN_IF_ERROR(CheckSampling(request.sampling));
  auto sequence = std::make_unique<Sequence>();
  sequence->id = next_id_++;
  sequence->tokens = request.prompt;
  sequence->prompt_size = size;
  sequence->sampler = Sampler(request.sampling);
  sequence->request = std::move(request);
  waiting_.push_back(std::move(sequence));
  return next_id_ - 1;
}

void Engine::Cancel(SequenceId id) {
  if (delivering_) {
    cancelled_.push_back(id);
    return;
  }
  const auto it = std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& s) { return s->id == id; });
  if (it != waiting_.end()) {
    const auto on_finish = std::move((*it)->request.on_finish);
    waiting_.erase(it);
    if (on_finish) on_finish(Finish::kStopped);
    return;
  }
  for (const auto& sequence : running_)
    if (sequence->id == id) return End(sequence.get(), Finish::kStopped);
}

void Engine::End(Sequence* sequence, Finish finish) {
  GiveBackPages(sequence);
  const auto on_finish = std::move(sequence->request.on_finish);
  std::erase_if(running_, [&](const auto& s) { return s.get() == sequence; });
  if (on_finish) on_finish(finish);
}

}  // namespace nibble
