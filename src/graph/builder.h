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
  BufferId NormOf(BufferId in, const Norm& norm);
  // A linear layer that every rank computes whole.
  BufferId Replicated(BufferId in, const std::vector<Part>& parts);

  // q, k, v of all heads side by side in one buffer. `fused` names the module that holds them as one ("...qkv_proj").
  struct Qkv {
    BufferId buffer = -1;
    int64_t q_heads = 0, kv_heads = 0;  // this rank's
    int64_t dim = 0, v_dim = 0;
  };
  Qkv QkvProjection(BufferId in, const std::string& q, const std::string& k, const std::string& v, const std::string& fused,
                    const Heads& heads, bool bias);
  // Norm of each q and k head (qwen3).
  void HeadNorm(const Qkv& qkv, const Norm& q, const Norm& k);
  int AddRope(RopeSpec rope);
  void Rope(const Qkv& qkv, int rope);
  struct AttentionOptions {
    float scale = 0;  // 0: 1 / sqrt(dim)
    float softcap = 0;
    int64_t window = 0;
  };
  BufferId Attention(const Qkv& qkv, const AttentionOptions& options);
  // Row-parallel: `in` holds this rank's columns; the result is summed over ranks. k: whole width, unit: columns are cut in
  // multiples of it.
  BufferId RowParallel(BufferId in, const Part& part, int64_t k, int64_t unit);

  struct Mlp {
    std::string gate, up, down;  // modules; gate empty: act(up) alone
    std::string fused;           // "...gate_up_proj", or empty
    int64_t hidden = 0, inter = 0;
    Activation act = Activation::kSilu;
    bool bias = false;
  };
  BufferId GatedMlp(BufferId in, const Mlp& mlp);
  // Mixture of experts with a linear router.
  BufferId Experts(BufferId in, const std::string& router, const MoeSpec& moe);

  void Add(BufferId into, BufferId from, float scale = 1);
  // Final part: keeps the rows whose logits are wanted, norm, head. `tied_to` names the embedding for models without a head of
  // their own.
  struct Head {
    std::string name = "lm_head";
    std::string tied_to;
    int64_t vocab = 0;
    bool bias = false;
    float scale = 1, softcap = 0;
  };
  void Logits(BufferId in, const Norm& norm, const Head& head);

  // Counts not divisible by the ranks are found here.
  Result<Graph> Finish();

 private:
  BufferId NewBuffer(int64_t width);
  int NewLinear(LinearSpec spec);
  void Append(AnyOp op, const std::string& name);
  BufferId LinearOut(BufferId in, LinearSpec spec, int64_t local_n, const std::string& name);
  int64_t Local(int64_t count, const char* what);  // count / ranks, or remembers the error

  Graph graph_;
  Status status_;
  bool logits_rows_ = false;
};

}  // namespace nibble
