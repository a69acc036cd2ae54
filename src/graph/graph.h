// SPDX-License-Identifier: Apache-2.0
// A model as a list of operations on numbered buffers. A model file builds it once from config.json; it names tensors and shapes
// and knows no weights and no formats. Weights are bound to it later (models/loader), passes rewrite it (graph/passes), an executor
// walks it.
//
// A buffer is [rows, width] f32; rows are the tokens of one step, of any number of sequences.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/math.h"
#include "kernels/cpu/ops/ops.h"
#include "kv_cache/layer_state.h"

namespace nibble {

using BufferId = int;

// How a linear part is cut over ranks. Its shapes in the graph are always the whole ones.
enum class Shard : uint8_t { kReplicate, kRows /* outputs: column parallel */, kColumns /* inputs: row parallel */ };

// One logical matrix of a fused layer.
struct LinearPartSpec {
  std::string name;  // module, "model.layers.0.self_attn.q_proj"
  int64_t n = 0;
  std::string fused_name;  // the fused module some checkpoints and configs name instead, "...qkv_proj"; empty: none
  int64_t fused_row = 0;   // where this part begins in it
  int64_t fused_n = 0;     // its rows
  // The part's rows lie there in blocks of fused_block rows, one every fused_stride (q, k, v of one head after another); 0:
  // together.
  int64_t fused_block = 0, fused_stride = 0;
  bool transposed = false;       // may be stored as floats [k, n] (GPT-2's Conv1D)
  bool bias = false;             // may have one ("<name>.bias"); loaded when the checkpoint has it
  int64_t shard_unit = 1;        // rows are cut in multiples of this (a head)
  bool shard_replicate = false;  // fewer units than ranks: each rank keeps the whole part (k, v of a single kv head)
};

struct LinearSpec {
  std::vector<LinearPartSpec> parts;
  int64_t k = 0;
  Shard shard = Shard::kReplicate;
  int64_t shard_unit_k = 1;  // kColumns: inputs are cut in multiples of this
  bool is_lm_head = false, is_router = false;
  // One part whose rows are, for each of `heads` heads, `keys` rows and then `values` rows, used head by head (LatentOp). heads 0:
  // an ordinary linear layer.
  struct {
    int64_t heads = 0, keys = 0, values = 0;
  } latent;
  std::string tied_to;  // lm_head: the embedding that serves when the checkpoint has no such module
  int64_t n() const {
    int64_t total = 0;
    for (const LinearPartSpec& part : parts) total += part.n;
    return total;
  }
};

struct VectorSpec {  // norm weights, sinks ...: small, f32 in memory
  std::string name;  // whole tensor name, "model.norm.weight"
  int64_t size = 0;  // of the whole tensor
  // It lies as so many tensors of one size, end to end, whose numbers stand for "{}" in the name; 0: as one.
  int64_t pieces = 0;
  std::string PieceName(int64_t i) const {
    return pieces ? std::string(name).replace(name.find("{}"), 2, std::to_string(i)) : name;
  }
  // Cut over ranks like a linear's rows, in multiples of this many elements; 0: every rank has it whole.
  int64_t shard_unit = 0;
  bool shard_replicate = false;
};

struct EmbeddingSpec {
  std::string name;  // module
  int64_t rows = 0, width = 0;
};

// How the router's logits become the weights of the chosen experts.
enum class RouterKind : uint8_t {
  kSoftmaxTopK,  // scores = softmax over all; the best are chosen
  kTopKSoftmax,  // the best logits are chosen; softmax over them
  kSigmoidTopK,  // scores = sigmoid of each
  kSparseMixer,  // Phi-3.5-MoE: one after another, each by a softmax over the logits near the best of those left
};
// Activation of an MLP: out = act(gate) * up, or with a limit (u + 1) * g * sigmoid(alpha * g) of clamped values (CpuOps).
struct GateRule {
  Activation act = Activation::kSilu;
  float limit = 0, alpha = 0;  // limit 0: none
};

// Experts of one layer; expert e's matrices are "<prefix>.e.<gate|up|down>" in one of the known spellings (models/loader).
struct MoeSpec {
  std::string prefix;                         // "model.layers.0.mlp.experts"
  std::vector<std::string> prefixes_on_disk;  // other spellings of the prefix
  // Floats of all experts in one tensor: [E, in, out] instead of [E, out, in]; gate and up rows alternating instead of gate first.
  bool stacked_transposed = false, stacked_interleaved = false;
  int64_t experts = 0, top_k = 0, hidden = 0, inter = 0;
  RouterKind router = RouterKind::kSoftmaxTopK;
  int choice_bias = -1;  // vector [experts], added to the scores for the choice alone; -1: none
  // Experts stand in `groups` equal groups; only those of the best top_groups are chosen from. A group's score is that of its best
  // expert, or the sum of its best two.
  int64_t groups = 1, top_groups = 1;
  bool group_by_two = false;
  bool renormalize = true;  // divide the weights by (their sum + renormalize_eps)
  float renormalize_eps = 0;
  float scale = 1;           // of the weights, at the end
  int expert_scales = -1;    // vector [experts] that multiplies the weights after that; -1: none
  bool scale_input = false;  // weights multiply an expert's input, not its output (Llama 4)
  float jitter_eps = 0;      // kSparseMixer: logits further than 2 * this from the best, relatively, are left out
  GateRule gate;
};

struct RopeSpec {
  int64_t rotary_dims = 0;  // of each head, even
  bool interleaved = false;
  std::vector<float> inv_freq;  // [rotary_dims / 2]
  float attention_factor = 1;   // multiplies cos and sin
  // Dynamic scaling: beyond this many positions the frequencies depend on the length of the sequence. 0: they never do.
  int64_t dynamic_from = 0;
  double dynamic_factor = 1, theta = 10000;
  // LongRoPE: sequences longer than long_from use these; empty: never. [rotary_dims / 2]
  int64_t long_from = 0;
  std::vector<float> long_inv_freq;
  float long_attention_factor = 1;  // in place of attention_factor
  bool operator==(const RopeSpec&) const = default;
};

// ---- operations -------------------------------------------------------------------------------------------------------------
struct EmbedOp {
  static constexpr const char* kName = "embed";
  BufferId out;
  int table;
  float scale = 1;
};
struct PositionsOp {  // into += table[position + offset]: learned positions
  static constexpr const char* kName = "positions";
  BufferId into;
  int table;
  int64_t offset = 0;
};
struct NormOp {  // out = norm(in); heads > 1: each of `heads` slices of width/heads on its own, starting at column `begin`
  static constexpr const char* kName = "norm";
  bool rms = true;
  BufferId in, out;
  int weight = -1, bias = -1;  // vectors; -1: none
  float eps = 1e-6f, offset = 0;
  int64_t begin = 0, heads = 1, head_dim = 0;  // head_dim 0: the whole row
  bool per_head = false;                       // the weight has heads * head_dim elements
};
struct LinearOp {
  static constexpr const char* kName = "linear";
  BufferId in, out;
  int linear;
  std::vector<BufferId> prepared;  // by input of the packed weight; filled by the passes (plain inputs keep `in`)
};
struct PrepareOp {  // transforms and quantization that input `input` of a linear demands; inserted by a pass
  static constexpr const char* kName = "prepare";
  BufferId in, out;
  int linear, input;
  bool all_rows = false;  // a row needs the others of its sequence (one scale for all of them): not row-wise
};
struct FinishOp {  // transforms, low-rank terms (of x in `in`) and bias of the outputs of a linear's parts; inserted by a pass
  static constexpr const char* kName = "finish";
  BufferId in, buffer;
  int linear;
};
struct LatentOp {  // a linear layer with `latent`, head by head; W_k [keys, k] and W_v [values, k] of this rank's heads:
                   // out_h [k] = in_h [keys] W_k, or with `values` out_h [values] = W_v in_h [k]
  static constexpr const char* kName = "latent";
  BufferId in, out;
  int linear;
  bool values;
  int64_t in_stride, out_stride;  // columns from head to head
};
struct SelectColumnsOp {  // this rank's columns of a layer that could not be cut: copies each range of `in` to `out`, one after
                          // another
  static constexpr const char* kName = "select-columns";
  BufferId in, out;
  int linear;
};
struct CopyColumnsOp {  // `blocks` times `width` columns from in_begin + i * in_stride to out_begin + i * out_stride
  static constexpr const char* kName = "copy-columns";
  BufferId in, out;
  int64_t in_begin = 0, in_stride = 0, out_begin = 0, out_stride = 0, blocks = 1, width = 0;
};
struct ClampOp {  // every element to [-limit, limit]
  static constexpr const char* kName = "clamp";
  BufferId buffer;
  float limit;
};
struct MulOp {  // into[i] *= act(from[i / (width of into / width of from)])
  static constexpr const char* kName = "mul";
  BufferId into, from;
  Activation act = Activation::kSigmoid;
  bool softplus = false;  // log(1 + exp(from)) instead of act(from)
};
struct ScaleByOp {  // every column times that of a vector, or all times the one element it has
  static constexpr const char* kName = "scale-by";
  BufferId buffer;
  int vector;
};
struct XieluOp {  // xIELU (arXiv 2411.13010): x > 0: p x^2 + b x; else (exp(min(x, eps)) - 1 - x) n + b x; p = softplus(alpha_p),
                  // n = b + softplus(alpha_n)
  static constexpr const char* kName = "xielu";
  BufferId buffer;
  int alpha_p, alpha_n;  // vectors of one element
  float beta = 0.5f, eps = -1e-6f;
};
struct PositionScaleOp {  // columns [0, width) *= 1 + scale * log(1 + floor((position + shift) / period))
  static constexpr const char* kName = "position-scale";
  BufferId buffer;
  int64_t width;
  float scale;
  int64_t period, shift;
};
struct RopeOp {  // rotates heads [begin, begin + heads * head_dim) of a row, then q and k alike
  static constexpr const char* kName = "rope";
  BufferId buffer;
  int rope;
  int64_t begin, heads, head_dim;
};
struct WriteKvOp {  // row's k and v heads -> cache
  static constexpr const char* kName = "write-kv";
  BufferId in;
  int layer;
  int64_t k_begin, v_begin;
};
struct AttentionOp {  // q heads at q_begin of `in`, against the layer's cache
  static constexpr const char* kName = "attention";
  BufferId in, out;
  int layer;
  int64_t q_begin, heads, head_dim, v_dim;
  float scale;
  float softcap = 0;
  int64_t window = 0;         // positions a row sees, itself included; 0: all
  int64_t chunk = 0;          // a row sees the positions of its own chunk; 0: all
  int sinks = -1;             // vector [heads]; -1: none
  std::vector<float> slopes;  // ALiBi, [heads]; empty: none
};
// Layers that keep a state instead of positions. A sequence's first position begins with a state of zeros.
struct ShortConvOp {  // causal convolution, each channel c for itself, over u = x (times in[before + c]):
                      // out[c] = act(bias + sum over j < kernel of weight[c, j] u[t - (kernel - 1) + j]) (times in[after + c])
  static constexpr const char* kName = "short-conv";
  BufferId in, out;
  int layer;
  int64_t begin, kernel;            // x: columns of `in` from here, as many as `out` has
  int weight, bias = -1;            // vectors [channels of the whole layer, kernel] and [channels]
  std::vector<Range> channels;      // which of those `out` has, side by side
  int64_t before = -1, after = -1;  // columns of `in`; -1: none
  bool silu = false;
};
struct GatedDeltaOp {  // gated delta rule; for each value head, of one key head, with a state S [k_dim, v_dim]:
                       //   q, k: the head's, divided by their lengths; q also by sqrt(k_dim)
                       //   S = exp(-exp(a_log) softplus(a + dt_bias)) S;  S += k (sigmoid(b) (v - k^T S));  out = q^T S
  static constexpr const char* kName = "gated-delta";
  BufferId in, gates, out;  // in: all q, all k, all v
  int layer;
  int64_t k_heads, v_heads, k_dim, v_dim;
  int64_t b_begin, a_begin;  // columns of `gates`, one for each value head
  int a_log, dt_bias;        // vectors [v_heads]
};
struct LightningOp {  // linear attention that decays; for each head with a state S [k_dim, v_dim]: S = decay S + k v^T; out = q^T S
  static constexpr const char* kName = "lightning";
  BufferId in, out;  // in: all q, all k, all v
  int layer;
  int64_t heads, k_dim, v_dim;
  std::vector<float> decay;  // by head
};
struct GatedOp {  // out = act(in[0..n)) * in[n..2n); gated false: out = act(in)
  static constexpr const char* kName = "gated";
  BufferId in, out;
  GateRule rule;
  bool gated = true;
  int64_t width;  // of out
};
struct MoeOp {  // out = sum over chosen experts; router logits in `logits`
  static constexpr const char* kName = "moe";
  BufferId in, logits, out;
  int moe;
};
struct AddOp {
  static constexpr const char* kName = "add";
  BufferId into, from;
  float scale = 1;
};  // into += scale * from
struct AllReduceOp {
  static constexpr const char* kName = "all-reduce";
  BufferId buffer;
};  // sum over ranks
struct AllGatherOp {
  static constexpr const char* kName = "all-gather";
  BufferId in, out;
};  // ranks' slices side by side, in rank order
struct GatherRowsOp {
  static constexpr const char* kName = "gather-rows";
  BufferId in, out;
};  // the rows whose logits are wanted
struct SoftcapOp {
  static constexpr const char* kName = "softcap";
  BufferId buffer;
  float cap, scale;
};  // cap * tanh(scale * x / cap); cap 0: scale only

using AnyOp = std::variant<EmbedOp, PositionsOp, NormOp, LinearOp, PrepareOp, FinishOp, LatentOp, SelectColumnsOp, CopyColumnsOp,
                           ClampOp, MulOp, ScaleByOp, XieluOp, PositionScaleOp, RopeOp, WriteKvOp, AttentionOp, ShortConvOp,
                           GatedDeltaOp, LightningOp, GatedOp, MoeOp, AddOp, AllReduceOp, AllGatherOp, GatherRowsOp, SoftcapOp>;

struct Op {
  AnyOp op;
  std::string name;            // for profiles and explain
  bool barrier_before = true;  // set by the passes: false when the op reads only what the same worker wrote
  // Steps of one row: `repeated` ops are run by every worker, into copies of its own, which saves the barrier behind them.
  bool repeated = false;
  bool barrier_before_one = true;  // barrier_before in such a step
  // Index of the attention op whose heads this op prepares (its own for that op itself); -1: none. In a step of one row every
  // worker prepares, and then attends to, the same heads, where they can be divided evenly.
  int heads_of = -1;
  bool logits_rows = false;  // runs on the gathered rows
};

struct BufferSpec {
  int64_t width = 0;
  int64_t offset = -1;       // in floats per row, set by the buffer plan
  bool logits_rows = false;  // has one row per wanted logit instead of one per token
  bool own = false;          // written by repeated ops alone: in a step of one row every worker has a copy
};

// Which heads and columns a rank computes is decided while building: the builder is told its rank.
struct Graph {
  std::vector<Op> ops;
  std::vector<BufferSpec> buffers;
  std::vector<LinearSpec> linears;
  std::vector<VectorSpec> vectors;
  std::vector<EmbeddingSpec> embeddings;
  std::vector<MoeSpec> moes;
  std::vector<RopeSpec> ropes;
  std::vector<LayerState> states;  // per layer, this rank's heads
  struct AttentionModule {
    std::string name;      // "model.layers.0.self_attn"
    int64_t kv_heads = 0;  // of the whole model
  };
  std::vector<AttentionModule> attention_modules;  // by state; no name where it is rewritten
  BufferId logits = -1;
  int64_t vocab = 0;
  int rank = 0, ranks = 1;
  bool batch_scales = false;  // dynamic scales of activations span the rows of a step, not those of a sequence
  int64_t floats_per_row = 0, floats_per_logits_row = 0;  // arena sizes, set by the buffer plan
};

const char* OpKindName(const AnyOp& op);

}  // namespace nibble
