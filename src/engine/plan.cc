// SPDX-License-Identifier: Apache-2.0
#include "engine/plan.h"

#include <algorithm>
#include <map>

#include "graph/cpu_executor.h"
#include "graph/passes.h"
#include "io/tensor_index.h"
#include "kv_cache/paged_cache.h"

namespace nibble {
namespace {

// Bits of an unquantized weight: what config.json calls dtype (5.x) or torch_dtype (4.x).
double FloatBits(const Json& json) {
  for (const char* key : {"dtype", "torch_dtype"})
    if (const Json* value = JsonFind(json, key); value && value->is_string())
      if (const auto dtype = ParseDType(value->get<std::string>())) return 8.0 * DTypeBytes(*dtype);
  return 16;
}

class Planner {
 public:
  Planner(const Checkpoint& checkpoint, const ModelConfig& config, double linear_bits)
      : checkpoint_(checkpoint), float_bits_(FloatBits(config.json)), linear_bits_(linear_bits) {
    plan_.from_config_alone = !checkpoint.has_weights();
    for (const StoredTensor& tensor : checkpoint.tensors().tensors()) {
      // Bytes by module: everything before the last dot, so that scales count with their weight.
      const size_t dot = tensor.name.find_last_of('.');
      module_bytes_[tensor.name.substr(0, dot == std::string::npos ? tensor.name.size() : dot)] += tensor.size_bytes;
    }
  }

  // What the checkpoint stores of a matrix [n,k]: its own module, its share of a fused one, or (config alone) the method's
  // estimate.
  Result<int64_t> Matrix(LayerKind kind, const std::vector<std::string>& names, const std::string& fused, int64_t fused_n,
                         int64_t n, int64_t k) {
    int64_t bytes = -1;
    for (const std::string& name : names)
      if (const auto it = module_bytes_.find(name); it != module_bytes_.end()) bytes = it->second;
    if (const auto it = module_bytes_.find(fused); bytes < 0 && !fused.empty() && it != module_bytes_.end())
      bytes = static_cast<int64_t>(static_cast<double>(it->second) * static_cast<double>(n) /
                                   static_cast<double>(std::max<int64_t>(fused_n, 1)));
    if (bytes < 0) {
      const LayerQuery query{.kind = kind, .name = names[0], .fused_name = fused};
      // A scheme that cannot be read is no plan.
      if (plan_.from_config_alone) {
        NIBBLE_TRY([[maybe_unused]] const auto method, checkpoint_.quantization().GetQuantMethod(query));
      }
      const double bits = checkpoint_.quantization().EstimateBits(query);
      bytes = static_cast<int64_t>(static_cast<double>(n * k) * (bits > 0 ? bits : float_bits_) / 8);
    }
    const bool asked = linear_bits_ > 0 && (kind == LayerKind::kLinear || kind == LayerKind::kExpert);
    const double memory_bits =
        asked ? linear_bits_ : checkpoint_.quantization().MemoryBits({.kind = kind, .name = names[0], .fused_name = fused});
    if (memory_bits > 0) bytes = static_cast<int64_t>(static_cast<double>(n * k) * memory_bits / 8);
    plan_.parameters += n * k;
    bits_ += 8.0 * static_cast<double>(bytes);
    weights_ += n * k;
    return bytes;
  }

  Status Linears(const Graph& graph) {
    int64_t attention = 0, mlp = 0, head = 0;
    for (const LinearSpec& linear : graph.linears)
      for (const LinearPartSpec& part : linear.parts) {
        const std::string& name = linear.is_lm_head && !linear.tied_to.empty() ? linear.tied_to : part.name;
        NIBBLE_TRY(const int64_t bytes, Matrix(linear.is_lm_head ? LayerKind::kLmHead : LayerKind::kLinear, {name}, part.fused_name,
                                               part.fused_n, part.n, linear.k));
        // The keys' half is kept transposed, in f32.
        const int64_t turned = linear.latent.heads * linear.latent.keys * linear.k;
        if (turned > 0) attention += 4 * turned - bytes * linear.latent.keys / (linear.latent.keys + linear.latent.values);
        (linear.is_lm_head ? head : part.name.find("attn") != std::string::npos ? attention : mlp) += bytes;
        if (linear.is_lm_head && !linear.tied_to.empty()) plan_.parameters -= part.n * linear.k;  // counted as the embedding
      }
    Add("attention projections", attention);
    Add("mlp projections", mlp);
    Add("lm_head", head);
    return {};
  }

  Status Experts(const Graph& graph) {
    static constexpr const char* kNames[3][2] = {{"gate_proj", "w1"}, {"up_proj", "w3"}, {"down_proj", "w2"}};
    int64_t bytes = 0;
    for (const MoeSpec& moe : graph.moes) {
      if (const int64_t fused = FusedExperts(moe); fused > 0) {
        bytes += fused;
        continue;
      }
      for (int64_t e = 0; e < moe.experts; ++e)
        for (const auto& spellings : kNames) {
          std::vector<std::string> names;
          for (const char* spelling : spellings) names.push_back(fmt::format("{}.{}.{}", moe.prefix, e, spelling));
          for (const std::string& prefix : moe.prefixes_on_disk)
            for (const char* spelling : spellings) names.push_back(fmt::format("{}.{}.{}", prefix, e, spelling));
          NIBBLE_TRY(const int64_t one, Matrix(LayerKind::kExpert, names, "", 0, moe.inter, moe.hidden));
          bytes += one;
        }
    }
    Add("experts", bytes);
    return {};
  }

  // Experts kept in 3-D tensors: "<prefix>.gate_up_proj" and "<prefix>.down_proj", with or without ".weight"; 0 if there are none.
  int64_t FusedExperts(const MoeSpec& moe) {
    int64_t bytes = 0;
    std::vector<std::string> prefixes = moe.prefixes_on_disk;
    prefixes.push_back(moe.prefix);
    for (const std::string& prefix : prefixes) {
      if (!checkpoint_.tensors().HasPrefix(prefix + ".gate_up_proj")) continue;
      for (const StoredTensor& tensor : checkpoint_.tensors().tensors())
        if (tensor.name.starts_with(prefix + ".gate_up_proj") || tensor.name.starts_with(prefix + ".down_proj"))
          bytes += tensor.size_bytes;
    }
    if (bytes == 0) return 0;
    const int64_t weights = 3 * moe.experts * moe.inter * moe.hidden;
    plan_.parameters += weights;
    weights_ += weights;
    bits_ += 8.0 * static_cast<double>(bytes);
    return bytes;
  }

  void Embeddings(const Graph& graph) {
    for (const EmbeddingSpec& embedding : graph.embeddings) {
      const auto it = module_bytes_.find(embedding.name);
      plan_.embedding_bytes += it != module_bytes_.end()
                                   ? it->second
                                   : static_cast<int64_t>(static_cast<double>(embedding.rows * embedding.width) * float_bits_ / 8);
      plan_.parameters += embedding.rows * embedding.width;
    }
  }

  void Cache(const Graph& graph, const PlanOptions& options) {
    const CacheSize size{plan_.context, plan_.sequences, options.batch_rows};
    for (const LayerState& state : graph.states) {
      const int64_t bytes = PagedCache::TokenBytes(state, options.kv_dtype);
      if (state.window == 0)
        plan_.kv_token_bytes += bytes;
      else
        plan_.kv_fixed_bytes += PagedCache::SequencePages(state, size) * kPageTokens * plan_.sequences * bytes;
      if (options.kv_dtype.keeps_ends())
        plan_.kv_fixed_bytes += plan_.sequences * kEndPages * kPageTokens * PagedCache::TokenBytes(state, DType::kBF16);
    }
    plan_.kv_bytes = RoundUp(plan_.context, kPageTokens) * plan_.sequences * plan_.kv_token_bytes + plan_.kv_fixed_bytes;
    for (const LayerState& state : graph.states) plan_.state_bytes += plan_.sequences * StateSlots::Bytes(state);
    if (plan_.state_bytes > 0) plan_.parts.push_back({"recurrent states", plan_.state_bytes});
    plan_.parts.push_back({fmt::format("K/V cache ({})", options.kv_dtype.name()), plan_.kv_bytes});
  }

  void Add(const char* name, int64_t bytes) {
    if (bytes == 0) return;
    plan_.parts.push_back({name, bytes});
    plan_.weights_bytes += bytes;
  }

  MemoryPlan Finish() {
    plan_.weight_bits = weights_ ? bits_ / static_cast<double>(weights_) : 0;
    return std::move(plan_);
  }

  MemoryPlan plan_;

 private:
  const Checkpoint& checkpoint_;
  const double float_bits_, linear_bits_;
  std::map<std::string, int64_t> module_bytes_;
  double bits_ = 0;
  int64_t weights_ = 0;
};

}  // namespace

Result<MemoryPlan> PlanMemory(const Checkpoint& checkpoint, const ModelConfig& config, const PlanOptions& options) {
  NIBBLE_TRY(Graph graph, BuildGraph(config, 0, 1));
  Planner planner(checkpoint, config, options.linear_bits);
  planner.plan_.context = options.context > 0 ? options.context : config.max_positions;
  planner.plan_.sequences = options.sequences;
  NIBBLE_RETURN_IF_ERROR(planner.Linears(graph));
  NIBBLE_RETURN_IF_ERROR(planner.Experts(graph));
  planner.Embeddings(graph);
  planner.Cache(graph, options);
  FuseRowwise(&graph);
  RepeatRowwise(&graph);
  PlanBuffers(&graph);
  planner.plan_.scratch_bytes = CpuExecutor::ScratchBytes(graph, options.batch_rows, options.logits_rows);
  planner.plan_.parts.push_back({"scratch", planner.plan_.scratch_bytes});
  return planner.Finish();
}

int64_t ContextThatFits(const MemoryPlan& plan, int64_t wanted, int64_t available) {
  const int64_t left = available - plan.weights_bytes - plan.state_bytes - plan.scratch_bytes - plan.kv_fixed_bytes,
                per_position = plan.kv_token_bytes * plan.sequences;
  if (left <= 0) return 0;
  if (per_position == 0 || RoundUp(wanted, kPageTokens) * per_position <= left) return wanted;
  return std::min(wanted, left / per_position / kPageTokens * kPageTokens);
}

}  // namespace nibble
