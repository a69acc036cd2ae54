// SPDX-License-Identifier: Apache-2.0
// GGUF as a checkpoint: tensors under their hub names, blocks as they are, q and k rows found through a row map.
#include <algorithm>
#include <map>

#include "io/gguf.h"
#include "methods/gguf/config.h"
#include "methods/gguf/hub_blocks.h"
#include "methods/gguf/names.h"
#include "methods/param_checks.h"
#include "methods/registry.h"

namespace nibble {
namespace {

constexpr int64_t kMaxExperts = 65536;  // far above every model; each becomes an entry of the index

// Row maps of q_proj and k_proj where the file has them in interleaved rope order: of a head of d rows, logical row h * d/2 + i (h
// = 0, 1) is stored row 2 i + h.
Tensor InterleavedRows(int64_t heads, int64_t head_dim) {
  Tensor map(DType::kI32, {heads * head_dim});
  for (int64_t head = 0; head < heads; ++head)
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t i = 0; i < head_dim / 2; ++i)
        map.as<int32_t>()[head * head_dim + h * (head_dim / 2) + i] = static_cast<int32_t>(head * head_dim + 2 * i + h);
  return map;
}

class GgufLinearMethod : public LinearMethod {
 public:
  explicit GgufLinearMethod(Tensor row_map) : row_map_(std::move(row_map)) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"weight", {DType::kU8, DType::kF32, DType::kF16, DType::kBF16}, ParamDecl::kWeight, true},
            {"scale", {DType::kF32}, ParamDecl::kTensorScale, false},         // NVFP4: multiplies the product
            {"input_scale", {DType::kF32}, ParamDecl::kTensorScale, false}};  // NVFP4: of activations, which llama.cpp does not use
  }

  // The shape comes from the file when the caller leaves it open (n or k is 0).
  Result<LinearPart> MakeWeight(const BoundParams& params) const override {
    const StoredTensor* tensor = params.Find("weight");
    if (!tensor) return Corrupt("{} is missing", ParamName(params, "weight"));
    if (!tensor->unsupported.empty()) return Unsupported("{}: {}", ParamName(params, "weight"), tensor->unsupported);
    if (!tensor->ggml) return Unsupported("{}: a weight of type {}", ParamName(params, "weight"), tensor->stored_type);
    if (tensor->shape.rank() != 2 || (params.n > 0 && params.n != tensor->shape[0]) ||
        (params.k > 0 && params.k != tensor->shape[1]))
      return Corrupt("{} is {}, wanted [{},{}]", ParamName(params, "weight"), tensor->shape.ToString(), params.n, params.k);
    StoredWeight weight;
    if (tensor->ggml->block_elems == 1) {
      weight = MakeDense(tensor->view, params.origin("weight"), tensor->keep);
    } else {
      weight = StartWeight(params, tensor->ggml->name, "weight");
      weight.n = tensor->shape[0];
      weight.k = tensor->shape[1];
      weight.body = Blocked{.blocks = tensor->view};
    }
    if (params.Find("scale")) NIBBLE_RETURN_IF_ERROR(ScaleProduct(params, weight));
    if (!row_map_.view) return FinishPart(std::move(weight));
    if (row_map_.view.dim(0) != weight.n)
      return Corrupt("{} has {} rows, the heads have {}", ParamName(params, "weight"), weight.n, row_map_.view.dim(0));
    weight.row_map = row_map_.view;
    weight.keep.push_back(row_map_.bytes);
    return FinishPart(std::move(weight));
  }

 private:
  // y *= scale, the one number of `scale` seen as a vector.
  static Status ScaleProduct(const BoundParams& params, StoredWeight& weight) {
    const TensorView one = params.View("scale");
    if (one.dtype != DType::kF32 || one.elems() != 1)
      return Corrupt("{} is {} {}, wanted one f32", ParamName(params, "scale"), DTypeName(one.dtype), one.shape.ToString());
    TensorView all(one.data, DType::kF32, {weight.n});
    all.stride[0] = 0;
    weight.out.push_back({.kind = Transform::kScale, .data = all});
    return {};
  }
  Tensor row_map_;
};

class GgufQuantizationConfig : public QuantizationConfig {
 public:
  GgufQuantizationConfig(const GgufModel& model, const TensorIndex& tensors)
      : plain_(std::make_shared<const GgufLinearMethod>(Tensor())) {
    q_ = k_ = plain_;
    if (model.architecture->permuted) {
      q_ = std::make_shared<const GgufLinearMethod>(InterleavedRows(model.heads, model.head_dim));
      k_ = std::make_shared<const GgufLinearMethod>(InterleavedRows(model.kv_heads, model.head_dim));
    }
    DescribeTypes(tensors);
  }

  std::string_view name() const override { return "gguf"; }
  std::string Describe() const override { return describe_; }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention) return nullptr;
    if (layer.name.ends_with(".self_attn.q_proj")) return q_;
    if (layer.name.ends_with(".self_attn.k_proj")) return k_;
    return plain_;
  }

 private:
  // "gguf Q4_K 55 %, Q6_K 40 %": the types by bytes, largest first. The file's own general.file_type is often wrong.
  void DescribeTypes(const TensorIndex& tensors) {
    std::map<std::string, int64_t> bytes;
    for (const StoredTensor& tensor : tensors.tensors()) bytes[tensor.stored_type] += tensor.size_bytes;
    std::vector<std::pair<int64_t, std::string>> order;
    for (const auto& [type, size] : bytes) order.emplace_back(size, type);
    std::sort(order.rbegin(), order.rend());
    describe_ = "gguf";
    for (size_t i = 0; i < order.size() && i < 3; ++i)
      describe_ += fmt::format(
          "{} {} {} %", i ? "," : "", order[i].second,
          static_cast<int>(100.0 * static_cast<double>(order[i].first) / static_cast<double>(tensors.total_bytes()) + 0.5));
  }

  std::shared_ptr<const GgufLinearMethod> plain_, q_, k_;
  std::string describe_;
};

// One tensor an expert out of one for all: matrices of a 3-D one, scales of a vector.
void AddExpertTensors(const StoredTensor& all, const HubExpertName& name, std::vector<StoredTensor>& out) {
  const int64_t experts = all.shape[0], bytes = all.size_bytes / std::max<int64_t>(experts, 1);
  for (int64_t e = 0; e < experts; ++e) {
    StoredTensor& one = out.emplace_back(all);
    one.name = fmt::format("{}{}{}", name.before, e, name.after);
    one.view = all.view.Select(0, e);
    one.shape = all.shape.rank() == 3 ? Shape({all.shape[1], all.shape[2]}) : Shape{};
    one.file_offset += e * bytes;
    one.size_bytes = bytes;
  }
}

Result<TensorIndex> RenameTensors(const GgufFile& file, const GgufModel& model) {
  std::vector<StoredTensor> tensors;
  for (const StoredTensor& tensor : file.tensors.tensors()) {
    if (tensor.name == "rope_freqs.weight") continue;  // is in the config now
    if (model.architecture->permuted && (tensor.name.ends_with(".attn_q.bias") || tensor.name.ends_with(".attn_k.bias")))
      return Unsupported("{}: tensor \"{}\": biases in interleaved rope order are not supported", tensor.file, tensor.name);
    const auto expert = HubExpertTensorName(tensor.name, *model.architecture);
    if (expert && (tensor.shape.rank() == 3 || (tensor.shape.rank() == 1 && tensor.name.ends_with("scale")))) {
      if (tensor.shape[0] > kMaxExperts) return Corrupt("{}: tensor \"{}\": {} experts", tensor.file, tensor.name, tensor.shape[0]);
      AddExpertTensors(tensor, *expert, tensors);
      continue;
    }
    StoredTensor& renamed = tensors.emplace_back(tensor);
    // Names of no known meaning stay, so that whoever checks for leftovers can name them.
    renamed.name = HubTensorName(tensor.name, *model.architecture).value_or(tensor.name);
  }
  return TensorIndex::Make(std::move(tensors));
}

Result<ContainerContents> OpenContainer(const std::string& path) {
  NIBBLE_TRY(const GgufFile file, OpenGguf(path));
  NIBBLE_TRY(GgufModel model, ReadGgufModel(file));
  ContainerContents contents;
  NIBBLE_TRY(contents.tensors, RenameTensors(file, model));
  contents.quantization = std::make_unique<GgufQuantizationConfig>(model, file.tensors);
  contents.config = std::move(model.config);
  return contents;
}

}  // namespace

const QuantizationEntry* gguf_method() {
  static const QuantizationEntry entry = {
      .name = "gguf",
      .quant_methods = {"gguf"},
      .summary = "GGUF files of llama.cpp and ik_llama.cpp: every block type of the former, f32, f16, bf16",
      .formats = {"q4_0",  "q4_1",   "q5_0",   "q5_1",  "q8_0",  "q8_1",    "q8_k",   "q2_k",   "q3_k",    "q4_k",  "q5_k",
                  "q6_k",  "iq4_nl", "iq4_xs", "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s",  "iq3_xxs", "iq3_s", "tq1_0",
                  "tq2_0", "q1_0",   "q2_0",   "mxfp4", "nvfp4", "iq1_kt",  "iq2_kt", "iq3_kt", "iq4_kt",  "dense"},
      .makes = {"q8_0", "dense"},
      .checked = {"llama.cpp 0c1e57098b"},
      .from_config = GgufBlocksFromConfig,
      .open_container = OpenContainer};
  return &entry;
}

}  // namespace nibble
