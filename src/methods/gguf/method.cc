// SPDX-License-Identifier: Apache-2.0
// GGUF as a checkpoint: tensors under their hub names, blocks as they are, q and k rows found through a row map.
#include <algorithm>

#include "io/gguf.h"
#include "methods/gguf/config.h"
#include "methods/gguf/hub_blocks.h"
#include "methods/gguf/tensors.h"
#include "methods/param_checks.h"
#include "methods/registry.h"

namespace nibble {
namespace {

class GgufLinearMethod : public LinearMethod {
 public:
  explicit GgufLinearMethod(Tensor row_map, Tensor column_map = {})
      : row_map_(std::move(row_map)), column_map_(std::move(column_map)) {}

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
    if (column_map_.view) {
      if (column_map_.view.dim(0) != weight.k)
        return Corrupt("{} has {} columns, the heads have {}", ParamName(params, "weight"), weight.k, column_map_.view.dim(0));
      weight.in.push_back({.kind = Transform::kPermute, .data = column_map_.view});
      weight.keep.push_back(column_map_.bytes);
    }
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
  Tensor row_map_, column_map_;
};

// kv_b_proj of latent attention as llama.cpp keeps it: keys of each head transposed, so that they can be multiplied into queries,
// and values. Put together as floats, [heads * (nope + v), rank], since blocks along another dimension are no blocks of this
// matrix.
class GgufLatentMethod : public LinearMethod {
 public:
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"k_b", {DType::kU8, DType::kF32, DType::kF16, DType::kBF16}, ParamDecl::kWeight, true},
            {"v_b", {DType::kU8, DType::kF32, DType::kF16, DType::kBF16}, ParamDecl::kWeight, true}};
  }

  Result<LinearPart> MakeWeight(const BoundParams& params) const override {
    const StoredTensor *k_b = params.Find("k_b"), *v_b = params.Find("v_b");
    if (!k_b || !v_b || k_b->shape.rank() != 3 || v_b->shape.rank() != 3 || k_b->shape[0] != v_b->shape[0] ||
        k_b->shape[1] != v_b->shape[2])
      return Corrupt("{}: wanted keys [heads, rank, nope] and values [heads, v, rank], found {} and {}", ParamName(params, "k_b"),
                     k_b ? k_b->shape.ToString() : "none", v_b ? v_b->shape.ToString() : "none");
    const int64_t heads = k_b->shape[0], rank = k_b->shape[1], nope = k_b->shape[2], v = v_b->shape[1];
    Tensor whole(DType::kF32, {heads * (nope + v), rank});
    std::vector<float> keys(static_cast<size_t>(rank * nope));
    for (int64_t head = 0; head < heads; ++head) {
      float* out = whole.as<float>() + head * (nope + v) * rank;
      NIBBLE_RETURN_IF_ERROR(DecodeHead(*k_b, head, keys.data()));
      for (int64_t i = 0; i < nope; ++i)
        for (int64_t j = 0; j < rank; ++j) out[i * rank + j] = keys[static_cast<size_t>(j * nope + i)];
      NIBBLE_RETURN_IF_ERROR(DecodeHead(*v_b, head, out + nope * rank));
    }
    return FinishPart(MakeDense(whole.view, params.origin("k_b"), whole.bytes));
  }

 private:
  static Status DecodeHead(const StoredTensor& all, int64_t head, float* out) {
    if (!all.unsupported.empty()) return Unsupported("{}: tensor \"{}\": {}", all.file, all.name, all.unsupported);
    if (!all.ggml) return Unsupported("{}: tensor \"{}\": a weight of type {}", all.file, all.name, all.stored_type);
    const int64_t n = all.shape[1], k = all.shape[2];
    StoredWeight weight;
    if (all.ggml->block_elems == 1) {
      weight = MakeDense(all.view.Select(0, head), {all.file, all.name}, all.keep);
    } else {
      weight.format = all.ggml;
      weight.n = n;
      weight.k = k;
      weight.body = Blocked{.blocks = all.view.Select(0, head)};
    }
    DecodeRows(weight, {0, n}, {0, k}, out);
    return {};
  }
};

class GgufQuantizationConfig : public QuantizationConfig {
 public:
  GgufQuantizationConfig(GgufTensors* hub, const TensorIndex& tensors)
      : plain_(std::make_shared<const GgufLinearMethod>(Tensor())),
        latent_(std::make_shared<const GgufLatentMethod>()),
        row_maps_(std::move(hub->row_maps)),
        column_maps_(std::move(hub->column_maps)) {
    DescribeTypes(tensors);
  }

  std::string_view name() const override { return "gguf"; }
  std::string Describe() const override { return describe_; }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention) return nullptr;
    if (layer.has && layer.has("k_b")) return latent_;
    const auto map = row_maps_.find(layer.name);
    if (map != row_maps_.end()) return std::make_shared<const GgufLinearMethod>(map->second);
    const auto columns = column_maps_.find(layer.name);
    if (columns != column_maps_.end()) return std::make_shared<const GgufLinearMethod>(Tensor(), columns->second);
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

  std::shared_ptr<const LinearMethod> plain_, latent_;
  std::map<std::string, Tensor, std::less<>> row_maps_, column_maps_;
  std::string describe_;
};

Result<ContainerContents> OpenContainer(const std::string& path) {
  NIBBLE_TRY(const GgufFile file, OpenGguf(path));
  NIBBLE_TRY(GgufModel model, ReadGgufModel(file));
  ContainerContents contents;
  NIBBLE_TRY(GgufTensors hub, HubTensors(file, model));
  contents.tensors = std::move(hub.tensors);
  contents.quantization = std::make_unique<GgufQuantizationConfig>(&hub, file.tensors);
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
