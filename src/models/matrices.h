// SPDX-License-Identifier: Apache-2.0
// The logical matrices and vectors of a checkpoint by canonical hub name, whatever the file calls or fuses: what `inspect` lists,
// what tools and tests ask for one by one.
//
// Names: "model.layers.0.self_attn.q_proj", "model.embed_tokens", "lm_head", "model.layers.0.mlp.experts.3.gate_proj" (also where
// the file says block_sparse_moe, w1 or keeps all experts in one tensor), "model.norm.weight" for vectors. GGUF checkpoints have
// these names too. Shapes come from the architecture where this build knows it, else from what is stored.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "models/loader.h"

namespace nibble {

struct NamedMatrix {
  enum Kind : uint8_t { kLinear, kEmbedding, kLmHead, kExpert, kVector } kind = kLinear;
  std::string name;
  int64_t n = 0, k = 0;  // [n,k]; vectors: n, k = 0. Both 0: whatever is stored
  std::string tied_to;   // lm_head that is the embedding of this name
  // How the checkpoint is asked for it; used by MatrixTable::Load.
  Checkpoint::LinearQuery query;
  std::string experts;  // prefix
  std::vector<std::string> other_experts;
  bool stacked_transposed = false, stacked_interleaved = false;  // as in MoeSpec
  int64_t expert = -1;
  MoeMatrix which = MoeMatrix::kGate;
};

class MatrixTable {
 public:
  // Lists without touching data. An architecture that this build does not know is no error: architecture_known() tells.
  // `checkpoint` must outlive the table.
  static Result<MatrixTable> Of(Checkpoint& checkpoint, const LoadOptions& options = {});

  // By layer: embeddings, layers (linear, experts, vectors), then the rest.
  const std::vector<NamedMatrix>& all() const { return matrices_; }
  bool architecture_known() const { return known_; }

  // By canonical name, with or without ".weight"; by the file's own spelling of an expert; by the name of a fused module that the
  // file has
  // ("...qkv_proj"); or any stored vector. NotFound with the nearest names.
  Result<NamedMatrix> Find(std::string_view name) const;

  // The weight as stored; nothing is decoded. Not for vectors. Errors name file and tensor.
  Result<LinearPart> Load(const NamedMatrix& matrix) const;
  Result<std::vector<float>> LoadVector(const NamedMatrix& matrix) const;

 private:
  explicit MatrixTable(Checkpoint& checkpoint) : checkpoint_(&checkpoint) {}
  void AddGraph(const Graph& graph);
  void AddExperts(const MoeSpec& moe);
  void AddStored(const Checkpoint& checkpoint);
  void AddStoredModule(const std::string& module, bool matrix);
  void AddStoredFused(const std::string& module);
  void AddStoredExperts(const StoredTensor& tensor);
  void AddBias(const std::string& module, int64_t size);
  void Index();

  Checkpoint* checkpoint_;
  bool known_ = false;
  std::vector<NamedMatrix> matrices_, aliases_;               // aliases_: findable, not listed
  std::map<std::string, std::string, std::less<>> prefixes_;  // other expert prefix -> canonical
  std::map<std::string, size_t, std::less<>> by_name_, alias_by_name_;
};

// Says that the checkpoint's files will be described, not read: binding thousands of matrices then costs no readahead.
void ExpectSparseReads(const Checkpoint& checkpoint);

}  // namespace nibble
