// SPDX-License-Identifier: Apache-2.0
// What a model file writes its layers with. Each call appends operations and returns the buffer that holds the result. Tensor
// parallelism is expressed by the calls: heads and intermediate columns are cut over ranks, row-parallel products end in an
// all-reduce.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "graph/graph.h"

namespace nibble {

class GraphBuilder {
 public:
  GraphBuilder(int rank, int ranks) {
    graph_.rank = rank;
    graph_.ranks = ranks;
  }
  int ranks() const { return graph_.ranks; }

  struct Norm {
    std::string name;  // module; "<name>.weight", "<name>.bias"
    float eps = 1e-6f;
    bool rms = true;
    float offset = 0;   // gemma: 1
    bool bias = false;  // layer norm with bias
    bool has_weight = true;
    bool per_head = false;  // HeadNorm: weights of each head, [heads * dim], or in a tensor for each whose number is "{}" in `name`
  };
  struct Part {
    std::string name;  // module
    int64_t n = 0;
    bool bias = false;
  };
  struct Heads {
    int64_t q = 0, kv = 0;  // numbers of heads, whole model
    int64_t dim = 0, v_dim = 0;
  };

  BufferId Embed(const std::string& module, int64_t vocab, int64_t width, float scale = 1);
  // Learned positions: adds row (position + offset) of an embedding of `rows` rows.
  void Positions(BufferId into, const std::string& module, int64_t rows, int64_t offset = 0);
  BufferId NormOf(BufferId in, const Norm& norm);
  // A linear layer that every rank computes whole.
  BufferId Replicated(BufferId in, const std::vector<Part>& parts);
  // The same for one that decides (a router, the gate of a shared expert): it stays float whatever quantizes the model.
  BufferId Router(BufferId in, const Part& part);

  // Column parallel: each part's rows are cut over ranks in multiples of its shard_unit; parts side by side.
  BufferId ColumnParallel(BufferId in, std::vector<LinearPartSpec> parts);

  // q, k, v of all heads side by side in one buffer.
  struct Qkv {
    BufferId buffer = -1;
    int64_t q_heads = 0, kv_heads = 0;  // in the buffer: this rank's
    int64_t dim = 0, v_dim = 0;
    bool gated = false;
    bool latent = false;  // one kv head of k alone, whose first v_dim columns are v
    Heads whole;
    std::string module;  // "model.layers.0.self_attn"
  };
  // How the rows of a fused module follow one another.
  enum class FusedOrder : uint8_t {
    kBlocks,       // all of q, all of k, all of v (phi3, gpt2, falcon with one kv head)
    kGroups,       // for each kv head: its q heads, its k, its v (gpt_neox, bloom, falcon-new)
    kQvkQuarters,  // for each quarter of the heads: their q, their v, their k (codegen); as many k and v as q
  };
  struct QkvModules {
    // Modules; those of a model that has but the fused one need not exist. v empty: values are a copy of what k's product gives;
    // k empty too: queries alone, for attention that reads the cache of another layer.
    std::string q, k, v;
    std::string fused;  // module that may hold them as one ("...qkv_proj"); empty: none
    Heads heads;
    bool bias = false;
    FusedOrder order = FusedOrder::kBlocks;
    bool transposed = false;  // see LinearPartSpec
    // The rows of a gate of as many columns stand after those of each q head in `q`; they come last in the buffer.
    bool gated = false;
    bool whole = false;  // every rank computes all heads: norms over the whole width follow; then TakeHeads
  };
  Qkv QkvProjection(BufferId in, const QkvModules& modules);
  // This rank's heads of a projection that was computed whole.
  Qkv TakeHeads(const Qkv& qkv);
  // Norm of each q and k head (qwen3).
  void HeadNorm(const Qkv& qkv, const Norm& q, const Norm& k);
  // Norm of each v head, without weights.
  void ValueNorm(const Qkv& qkv, float eps);
  // Norm of each of `count` slices that lie side by side from column `begin` on, in place; one weight for all.
  void SliceNorm(BufferId buffer, const Norm& norm, int64_t begin, int64_t count, int64_t width);
  // Norm of all q heads and of all k heads as one row each (olmo2); of a projection computed whole.
  void WidthNorm(const Qkv& qkv, const Norm& q, const Norm& k);
  int AddRope(RopeSpec rope);
  void Rope(const Qkv& qkv, int rope);
  // Heads in any buffer, the first at column `begin`; a head's first rotary dimensions are turned.
  void RopeColumns(const RopeOp& op);
  struct AttentionOptions {
    float scale = 0;  // 0: 1 / sqrt(dim)
    float softcap = 0;
    int64_t window = 0, chunk = 0;
    std::string sinks;          // tensor [heads]; empty: none
    std::vector<float> slopes;  // ALiBi, one for each head of the whole model; empty: none
    struct {
      float scale = 0;  // 0: none
      int64_t period = 1, shift = 0;
    } temperature;          // by position, on q (PositionScaleOp)
    int shared_state = -1;  // reads the cache of this earlier Attention call and writes none; -1: its own
  };
  BufferId Attention(const Qkv& qkv, const AttentionOptions& options);

  // Blocks with a state that every token rewrites; from x to what is added to it.
  struct ShortConv {     // LFM2: out_proj(c * conv(b * x)) with b, c, x of in_proj
    std::string prefix;  // "model.layers.0.conv."
    int64_t channels = 0, kernel = 0;
    bool bias = false;
  };
  BufferId GatedShortConv(BufferId in, const ShortConv& conv);
  struct DeltaNet {      // Qwen3-Next: out_proj(norm(delta rule of silu(conv(q, k, v)), b and a) * gate(z))
    std::string prefix;  // "model.layers.0.linear_attn."
    int64_t k_heads = 0, v_heads = 0, k_dim = 0, v_dim = 0, kernel = 0;
    // in_proj_qkvz and in_proj_ba hold each key head's rows together; else in_proj_qkv, in_proj_z, in_proj_b, in_proj_a.
    bool by_key_head = false;
    float eps = 1e-6f;
    Activation gate = Activation::kSilu;
  };
  BufferId GatedDeltaNet(BufferId in, const DeltaNet& net);
  // Linear attention with a decay for each head of the whole model, over act(q, k, v).
  BufferId LightningAttention(const Qkv& qkv, const std::vector<float>& decay, Activation act);
  // Of a gated projection: out *= sigmoid(gate).
  void MultiplyByGate(BufferId out, const Qkv& qkv);
  void Clamp(BufferId buffer, float limit);
  void Scale(BufferId buffer, float scale);
  // into *= act(from), each column of `from` for as many columns of `into` as the widths say.
  void Multiply(BufferId into, BufferId from, Activation act);
  // into *= log(1 + exp(from)), with columns as above.
  void MultiplyBySoftplus(BufferId into, BufferId from);
  void Xielu(BufferId buffer, const std::string& alpha_p, const std::string& alpha_n);  // tensors of one element
  // Every column times that of a tensor of as many elements, or times the only one it has.
  void ScaleBy(BufferId buffer, const std::string& tensor, int64_t size);
  BufferId NewBuffer(int64_t width);
  // A copy of columns [begin, begin + width).
  BufferId Columns(BufferId in, int64_t begin, int64_t width);
  void CopyColumns(const CopyColumnsOp& op);
  // A linear layer used head by head (LinearSpec::latent), its heads cut over ranks; for Latent ops.
  int AddLatent(const std::string& module, int64_t heads, int64_t keys, int64_t values, int64_t k);
  void Latent(const LatentOp& op);
  // Row-parallel: `in` holds this rank's columns; the result is summed over ranks. k: whole width, unit: columns are cut in
  // multiples of it.
  BufferId RowParallel(BufferId in, const Part& part, int64_t k, int64_t unit, bool transposed = false);
  // Norm of a row whose columns are cut over ranks in multiples of `unit`: gathered, normed, and cut again.
  BufferId WidthNormOfSlices(BufferId in, const Norm& norm, int64_t unit);
  // This rank's columns of a buffer that every rank has whole.
  BufferId TakeColumns(BufferId in, int64_t unit);

  struct Mlp {
    std::string gate, up, down;  // modules; gate empty: act(up) alone
    std::string fused;           // "...gate_up_proj", or empty
    int64_t hidden = 0, inter = 0;
    GateRule rule;
    bool bias = false;
    bool transposed = false;       // see LinearPartSpec
    std::string alpha_p, alpha_n;  // xIELU instead of `rule`: tensors of one element
    Norm norm = {.name = ""};      // before `down`, if it has a name: of the whole width
  };
  BufferId GatedMlp(BufferId in, const Mlp& mlp);
  // Mixture of experts. choice_bias, expert_scales: tensors [experts] for those of MoeSpec, or empty. router_in: what the router
  // reads, if not `in`.
  BufferId Experts(BufferId in, const Part& router, MoeSpec moe, const std::string& choice_bias = "", BufferId router_in = -1,
                   const std::string& expert_scales = "");

  void Add(BufferId into, BufferId from, float scale = 1);
  // Final part: keeps the rows whose logits are wanted, norm (none without a name), head. `tied_to` names the embedding for models
  // without a head of their own.
  struct Head {
    std::string name = "lm_head";
    std::string tied_to;
    int64_t vocab = 0;
    std::string in;  // linear to in_width columns between norm and head; empty: none
    int64_t in_width = 0;
    bool bias = false;
    float scale = 1, softcap = 0;
  };
  void Logits(BufferId in, const Norm& norm, const Head& head);

  // Unsupported, naming the numbers of ranks that would do, if `count` cannot be divided among the ranks.
  Status CheckDivides(int64_t count, const char* what) const;
  // Counts not divisible by the ranks are found here.
  Result<Graph> Finish();

 private:
  int NewLinear(LinearSpec spec);
  void Append(AnyOp op, const std::string& name);
  BufferId LinearOut(BufferId in, LinearSpec spec, int64_t local_n, const std::string& name);
  // QkvProjection without v, or without k and v.
  Qkv PartialProjection(BufferId in, std::vector<LinearPartSpec> parts, const QkvModules& m, Qkv out);
  int NewState(const LayerState& state);
  int NewVector(const std::string& name, int64_t size, bool cut = false);  // cut: element by element over ranks
  BufferId NewConvolution(ShortConvOp op, const std::string& module, int64_t channels_of_all, bool bias);
  int64_t Local(int64_t count, const char* what);  // count / ranks, or remembers the error
  bool Replicates(int64_t kv_heads) const { return kv_heads < graph_.ranks && graph_.ranks % kv_heads == 0; }

  Graph graph_;
  Status status_;
  bool logits_rows_ = false;
};

}  // namespace nibble
