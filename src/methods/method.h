// SPDX-License-Identifier: Apache-2.0
// The quantization interface, in the field's names. A checkpoint method is a QuantizationConfig, parsed from the checkpoint's JSON,
// that names for each layer the LinearMethod, MoeMethod or KvCacheMethod that reads its tensors; null means "this one is not
// quantized".
//
// A method knows how a checkpoint SPELLS a weight and nothing else: tensor names, dtypes, packings -> StoredWeight. Cutting for
// tensor parallelism, fusing, packing and running are written once, on StoredWeight (formats/) and in LinearLayer (graph/).
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/activation.h"
#include "formats/stored_weight.h"
#include "io/json.h"
#include "kernels/linear.h"
#include "kv_cache/kv_format.h"

namespace nibble {

struct StoredTensor;  // io/tensor_index.h

// One parameter of a module: checked against the file, then bound as a view; never a buffer to copy into.
struct ParamDecl {
  enum Kind : uint8_t {
    kPacked,
    kWeight,
    kTensorScale,
    kChannelScale,
    kGroupScale,
    kBlockScale,
    kZeroPoint,
    kGroupIndex,
    kTransform,
    kMeta
  };
  std::string_view suffix;    // "qweight": the tensor is "<module>.qweight"
  std::vector<DType> dtypes;  // allowed
  Kind kind = kWeight;
  bool required = true;
};

// The parameters of one module as found. `params` holds every declared suffix that the checkpoint has.
struct BoundParams {
  std::string name;      // "model.layers.0.self_attn.q_proj"
  int64_t n = 0, k = 0;  // what the model expects of the module as it is on disk
  std::vector<std::pair<std::string_view, const StoredTensor*>> params;
  // Experts kept in one 3-D tensor: which one; -1 otherwise. View() has it selected already.
  int64_t expert = -1;

  const StoredTensor* Find(std::string_view suffix) const;  // null when absent
  TensorView View(std::string_view suffix) const;           // empty when absent
  std::shared_ptr<const void> Keep(std::string_view suffix) const;
  Origin origin(std::string_view suffix) const;
};

struct LinearShape {
  std::string_view name;
  int64_t n = 0, k = 0;
};

// Reads the tensors of one linear module (or one expert's matrix). Stateless after construction; thread-safe.
class LinearMethod {
 public:
  virtual ~LinearMethod() = default;
  // The parameters this module may have. A required one that is missing is an error naming it.
  virtual std::vector<ParamDecl> CreateWeights(const LinearShape& shape) const = 0;
  // Spelling -> StoredWeight [n,k] and what the method demands of x. Shapes are validated here. The bias is bound by the caller.
  virtual Result<LinearPart> MakeWeight(const BoundParams& params) const = 0;
};

enum class MoeMatrix : uint8_t { kGate, kUp, kDown };
// Experts whose matrices are not modules of their own: fused 3-D tensors with the method's own spelling.
class MoeMethod {
 public:
  virtual ~MoeMethod() = default;
  virtual std::vector<ParamDecl> CreateWeights(std::string_view experts_name) const = 0;
  virtual Result<LinearPart> MakeWeight(const BoundParams& params, int64_t expert, MoeMatrix which) const = 0;
};

// Scales and number format of the K/V cache of one attention layer.
class KvCacheMethod {
 public:
  virtual ~KvCacheMethod() = default;
  // The checkpoint's own cache; none: it names none that this build makes, and what it says of K and V serves who asks for a cache.
  virtual std::optional<KvFormats> formats() const = 0;
  virtual std::vector<ParamDecl> CreateWeights(std::string_view attention_name) const = 0;
  virtual Result<KvRules> ProcessWeightsAfterLoading(const BoundParams& params) const = 0;
};

enum class LayerKind : uint8_t { kLinear, kEmbedding, kLmHead, kExpert, kAttention };

struct LayerQuery {
  LayerKind kind = LayerKind::kLinear;
  std::string name;        // "model.layers.0.self_attn.q_proj"
  std::string fused_name;  // the same under packed_modules_mapping ("...self_attn.qkv_proj"), or empty
  // Does the checkpoint have "<name>.<suffix>"? For files whose config and tensors disagree.
  std::function<bool(std::string_view suffix)> has;
};

class QuantizationConfig {
 public:
  virtual ~QuantizationConfig() = default;
  virtual std::string_view name() const = 0;  // "gptq"
  virtual std::string Describe() const = 0;   // "gptq 4-bit g128 sym": one line for reports
  // The method of a layer; null: the layer is stored unquantized. Errors: contradictory or unsupported settings for it.
  virtual Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const = 0;
  virtual Result<std::shared_ptr<const MoeMethod>> GetMoeMethod(const LayerQuery&) const {
    return std::shared_ptr<const MoeMethod>();
  }
  virtual Result<std::shared_ptr<const KvCacheMethod>> GetKvCacheMethod(const LayerQuery&) const {
    return std::shared_ptr<const KvCacheMethod>();
  }
  // Bits per weight that a layer of this method takes, for plans made from a config alone; 0: stored unquantized.
  virtual double EstimateBits(const LayerQuery&) const { return 0; }
  // Bits per weight in memory where the method quantizes while it reads and they differ from what the file stores; 0: as stored.
  virtual double MemoryBits(const LayerQuery&) const { return 0; }
  // Tensors that exist beside the weights and are not loaded (name ends with one of these): claimed and ignored.
  virtual std::vector<std::string_view> ignored_suffixes() const { return {}; }
};

}  // namespace nibble
