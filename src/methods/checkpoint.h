// SPDX-License-Identifier: Apache-2.0
// A checkpoint opened for reading: config, quantization method, tensors by canonical hub name, and the book of who claimed which
// tensor. Everything was validated when it was opened; asking for a weight binds views and copies nothing.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/tensor_index.h"
#include "methods/adapter.h"
#include "methods/online.h"
#include "methods/registry.h"

namespace nibble {

enum class CheckpointKind : uint8_t { kHubFolder, kGguf };

class Checkpoint {
 public:
  // `path`: a hub folder, or a .gguf file (any shard).
  static Result<std::unique_ptr<Checkpoint>> Open(const std::string& path, CheckpointKind kind);
  // config.json alone, no tensors: `plan` and `explain` of shapes.
  static Result<std::unique_ptr<Checkpoint>> OpenConfigOnly(const std::string& config_path);

  // Linear layers and experts that are stored as floats are from now on given in the online format `name` (formats/online.h),
  // encoded by `threads` threads as they are asked for; lm_head, embeddings and routers are left alone. Usage errors: an unknown
  // name, a checkpoint that is quantized already.
  Status QuantizeWhileLoading(const std::string& name, int threads);

  // Linear layers that the LoRA adapter in `folder` (methods/adapter.h) knows get its low-rank term from now on.
  Status AttachAdapter(const std::string& folder);

  const std::string& path() const { return path_; }
  const Json& config() const { return config_; }
  const QuantizationConfig& quantization() const { return *quantization_; }
  const TensorIndex& tensors() const { return tensors_; }
  bool has_weights() const { return !tensors_.tensors().empty(); }
  // Parsed generation_config.json, or null.
  const Json& generation_config() const { return generation_config_; }

  // Names that begin with `name` mean from now on those that begin with `on_disk`, if the files have such and (unless `on_disk`
  // begins with `name` itself) none under `name`. The first that fits a name stays. Everything below takes names as models spell
  // them.
  void LookUnder(std::string_view name, std::string_view on_disk);

  // What the files call it: for whoever writes a checkpoint that is to look like this one.
  std::string OnDisk(std::string_view name) const;

  bool Has(std::string_view tensor) const;

  struct LinearQuery {
    LayerKind kind = LayerKind::kLinear;
    std::string name;        // module
    int64_t n = 0, k = 0;    // 0: taken from what is stored (inspect)
    std::string fused_name;  // module that may hold this one's rows
    int64_t fused_row = 0, fused_n = 0;
    int64_t fused_block = 0, fused_stride = 0;  // as in LinearPartSpec
    bool transposed = false;                    // floats may be stored as [k, n] (of the fused module: [k, fused_n])
    bool bias = false;                          // load "<name>.bias" if it is there
    bool keep_float = false;                    // never quantized while loading: routers
  };
  // One logical matrix with what its method demands of x; claims its tensors. NotFound when no tensor of the module exists.
  Result<LinearPart> Linear(const LinearQuery& query);
  // Whether any tensor of the module (or of the fused one) is there.
  bool HasModule(std::string_view module) const;

  // Expert `expert` of `prefix` ("model.layers.0.mlp.experts"): per-expert modules in any known spelling, or fused 3-D tensors.
  struct ExpertQuery {
    std::string prefix;
    std::vector<std::string> other_prefixes;
    int64_t expert = 0;
    MoeMatrix which = MoeMatrix::kGate;
    int64_t n = 0, k = 0;
    bool stacked_transposed = false, stacked_interleaved = false;  // as in MoeSpec
  };
  Result<LinearPart> Expert(const ExpertQuery& query);

  // A small float tensor as f32; claims it.
  Result<std::vector<float>> Vector(const std::string& name, int64_t size);

  // Scales and format of an attention layer's K/V cache, default when the checkpoint has none.
  Result<std::shared_ptr<const KvCacheMethod>> KvMethod(const std::string& attention_name) const;
  Result<KvRules> KvScales(const std::string& attention_name);

  // Tensors that nobody claimed and no rule ignores, and modules of the adapter that nobody asked for.
  std::vector<std::string> Unclaimed() const;
  // Ignores tensors whose name contains `part`.
  void Ignore(const std::string& part) { ignored_parts_.push_back(part); }

  // Gives back the file pages of everything read so far.
  void ReleasePages() const;

 private:
  tl::unexpected<Error> MissingTensor(const std::string& module, const std::string& name,
                                      const std::vector<ParamDecl>& decls) const;
  Result<BoundParams> Bind(const std::string& module, const std::vector<ParamDecl>& decls);
  Result<LinearPart> Module(LayerKind kind, const std::string& module, const std::string& fused_name, int64_t n, int64_t k);
  // Floats [k, n] of a module that would otherwise be [n, k]; nothing if it is stored in any other way.
  std::optional<LinearPart> TransposedModule(const std::string& module, int64_t n, int64_t k);
  Status BindBias(const std::string& module, Range rows, LinearPart* part);
  Result<LinearPart> StoredLinear(const LinearQuery& asked);
  bool Stored(std::string_view tensor) const { return tensors_.Find(tensor) != nullptr; }
  bool StoredModule(std::string_view module) const;
  std::string RouterOnDisk(const std::string& module) const;
  Result<LinearPart> StoredExpert(const ExpertQuery& query);
  Result<LinearPart> StackedFloatExpert(const std::string& prefix, const ExpertQuery& query);
  Result<LinearPart> Online(Result<LinearPart> part);
  std::vector<std::string> ExpertSpellings(const std::string& prefix, int64_t expert, MoeMatrix which) const;
  Result<LinearPart> FusedExpert(const std::string& prefix, int64_t expert, MoeMatrix which, int64_t n, int64_t k);

  std::string path_;
  Json config_, generation_config_;
  TensorIndex tensors_;
  std::unique_ptr<QuantizationConfig> quantization_;
  std::unique_ptr<Adapter> adapter_;
  const OnlineFormat* online_ = nullptr;
  std::unique_ptr<ThreadTeam> online_team_;
  std::set<std::string, std::less<>> claimed_;
  std::vector<std::string> ignored_parts_;
  std::vector<std::pair<std::string, std::string>> prefixes_;  // LookUnder
};

}  // namespace nibble
