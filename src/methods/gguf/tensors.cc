// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr int64_t kMaxExperts = 65536;  // far above every model; each becomes an entry of the index

constexpr std::string_view kInConfig[] = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"};

// A tensor of numbers that the file does not have as they are.
StoredTensor Computed(const StoredTensor& from, const std::string& name, const std::vector<float>& values) {
  Tensor tensor(DType::kF32, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.as<float>());
  StoredTensor out = from;
  out.name = name;
  out.view = tensor.view;
  out.ggml = nullptr;
  out.shape = tensor.view.shape;
  out.stored_type = "F32";
  out.computed = tensor.bytes;
  return out;
}

class Renamer {
 public:
  Renamer(const GgufFile& file, const GgufModel& model) : file_(file), model_(model) {}

  Result<GgufTensors> Run() {
    for (const StoredTensor& tensor : file_.tensors.tensors()) {
      if (std::find(std::begin(kInConfig), std::end(kInConfig), tensor.name) != std::end(kInConfig)) continue;
      const auto hub = HubTensorName(tensor.name, *model_.architecture);
      if (!hub) {
        out_.push_back(tensor);
      } else if (hub->experts) {
        NIBBLE_RETURN_IF_ERROR(Experts(tensor, *hub));
      } else {
        NIBBLE_RETURN_IF_ERROR(Rows(tensor, *hub, hub->tensors));
      }
    }
    NIBBLE_RETURN_IF_ERROR(LayerNumbers());
    GgufTensors result;
    NIBBLE_TRY(result.tensors, TensorIndex::Make(std::move(out_)));
    result.row_maps = std::move(row_maps_);
    result.column_maps = std::move(column_maps_);
    return result;
  }

 private:
  // One tensor an expert out of one for all: matrices, biases, scales.
  Status Experts(const StoredTensor& all, const HubName& hub) {
    const int64_t experts = all.shape.rank() > 0 ? all.shape[0] : 0;
    if (experts < 1 || experts > kMaxExperts || all.shape.rank() > 3)
      return Corrupt("{}: tensor \"{}\": shape {}, wanted one entry for each expert", all.file, all.name, all.shape.ToString());
    const int64_t bytes = all.size_bytes / experts;
    for (int64_t e = 0; e < experts; ++e) {
      StoredTensor one = all;
      one.view = all.view.Select(0, e);
      one.shape = Shape(std::vector<int64_t>());
      if (all.shape.rank() == 3) one.shape = Shape({all.shape[1], all.shape[2]});
      if (all.shape.rank() == 2) one.shape = Shape({all.shape[1]});
      one.file_offset += e * bytes;
      one.size_bytes = bytes;
      std::vector<std::string> names = hub.tensors;
      for (std::string& name : names) name.replace(name.find('*'), 1, std::to_string(e));
      NIBBLE_RETURN_IF_ERROR(Rows(one, hub, names));
    }
    return {};
  }

  // Rows of each part in a tensor of several.
  Result<std::vector<int64_t>> PartRows(const StoredTensor& tensor, const HubName& hub) const {
    const auto count = static_cast<int64_t>(hub.tensors.size());
    const int64_t rows = tensor.shape[0];
    if (hub.equal) {
      if (rows % count != 0) return Corrupt("{}: tensor \"{}\": {} rows for {} parts", tensor.file, tensor.name, rows, count);
      return std::vector<int64_t>(static_cast<size_t>(count), rows / count);
    }
    std::array<int64_t, 3> parts = model_.qkv_rows;
    if (const auto own = model_.architecture->qkv_rows) {
      NIBBLE_TRY(parts, own(GgufReader(file_, std::string(model_.architecture->name)), hub.layer));
    }
    const auto& [q, k, v] = parts;
    if (rows - q - k != v)
      return Corrupt("{}: tensor \"{}\": {} rows, wanted {} of q, {} of k and {} of v", tensor.file, tensor.name, rows, q, k, v);
    return std::vector<int64_t>{q, k, v};
  }

  Status Rows(const StoredTensor& tensor, const HubName& hub, const std::vector<std::string>& names) {
    // A part alone, or a number that holds for all of them (NVFP4's scale).
    if (names.size() == 1 || tensor.shape.rank() == 0 || tensor.shape.elems() == 1) {
      for (const std::string& name : names) NIBBLE_RETURN_IF_ERROR(Whole(tensor, hub, name, &name == &names.back()));
      return {};
    }
    NIBBLE_TRY(const std::vector<int64_t> rows, PartRows(tensor, hub));
    const int64_t row_bytes = tensor.size_bytes / std::max<int64_t>(tensor.shape[0], 1);
    int64_t first = 0;
    for (size_t i = 0; i < names.size(); ++i) {
      StoredTensor part = tensor;
      part.view = tensor.view.Slice(0, first, rows[i]);
      part.shape[0] = rows[i];
      part.file_offset += first * row_bytes;
      part.size_bytes = rows[i] * row_bytes;
      first += rows[i];
      NIBBLE_RETURN_IF_ERROR(Whole(part, hub, names[i], i + 1 == names.size()));
    }
    return {};
  }

  Status Whole(const StoredTensor& tensor, const HubName& hub, const std::string& name, bool last) {
    if (hub.rope_rows) return RopeRows(tensor, name);
    if (hub.tiles != GgufName::kNone && last && tensor.shape.rank() > 0) {
      const std::vector<int32_t> map = TiledHeads(model_.config, tensor.shape[hub.tiles == GgufName::kColumns ? 1 : 0]);
      if (!map.empty()) return Tiled(tensor, hub, name, map);
    }
    if (hub.rule == GgufName::kPlusOne || hub.rule == GgufName::kNegExp) {
      NIBBLE_TRY(std::vector<float> values, Values(tensor));
      for (float& value : values) value = hub.rule == GgufName::kPlusOne ? value - 1 : std::log(-value);
      out_.push_back(Computed(tensor, name, values));
      return {};
    }
    out_.emplace_back(tensor).name = name;
    return {};
  }

  // Matrices are found through maps; vectors and the small matrices of convolutions are put in order.
  Status Tiled(const StoredTensor& tensor, const HubName& hub, const std::string& name, const std::vector<int32_t>& map) {
    const auto size = static_cast<int64_t>(map.size());
    if (hub.tiles != GgufName::kNumbers) {
      Tensor order(DType::kI32, {size});
      for (int64_t i = 0; i < size; ++i) {
        // Of columns the other way round: what stands at the file's column.
        const bool columns = hub.tiles == GgufName::kColumns;
        order.as<int32_t>()[columns ? map[static_cast<size_t>(i)] : i] =
            columns ? static_cast<int32_t>(i) : map[static_cast<size_t>(i)];
      }
      (hub.tiles == GgufName::kColumns ? column_maps_ : row_maps_)[name.substr(0, name.rfind('.'))] = order;
      out_.emplace_back(tensor).name = name;
      return {};
    }
    if (!IsFloat(tensor.view.dtype) || !tensor.view.contiguous())
      return Corrupt("{}: tensor \"{}\": {} {}, wanted floats", tensor.file, tensor.name, tensor.stored_type,
                     tensor.shape.ToString());
    std::vector<float> stored(static_cast<size_t>(tensor.shape.elems())), values;
    ConvertToF32(tensor.view.dtype, tensor.view.data, tensor.shape.elems(), stored.data());
    const auto width = static_cast<int64_t>(stored.size()) / size;
    for (const int32_t row : map)
      for (int64_t i = 0; i < width; ++i) {
        const float value = stored[static_cast<size_t>(row * width + i)];
        values.push_back(hub.rule == GgufName::kNegExp ? std::log(-value) : value);
      }
    out_.push_back(Computed(tensor, name, values));
    return {};
  }

  // Matrices are found through a map, vectors are put in order.
  Status RopeRows(const StoredTensor& tensor, const std::string& name) {
    const bool keys = tensor.name.find(".attn_k.") != std::string::npos;
    const int64_t heads = keys ? model_.kv_heads : model_.heads;
    if (tensor.shape.rank() == 0 || tensor.shape[0] == 1) {
      out_.emplace_back(tensor).name = name;
      return {};
    }
    if (tensor.shape[0] != heads * model_.head_dim)
      return Corrupt("{}: tensor \"{}\" has {} rows, the heads have {}", tensor.file, tensor.name, tensor.shape[0],
                     heads * model_.head_dim);
    Tensor& map = keys ? k_map_ : q_map_;
    if (!map.view) map = InterleavedRows(heads, model_.head_dim);
    if (tensor.shape.rank() == 1) {
      NIBBLE_TRY(const std::vector<float> stored, Values(tensor));
      std::vector<float> values;
      for (size_t row = 0; row < stored.size(); ++row) values.push_back(stored[static_cast<size_t>(map.as<int32_t>()[row])]);
      out_.push_back(Computed(tensor, name, values));
      return {};
    }
    row_maps_[name.substr(0, name.rfind('.'))] = map;
    out_.emplace_back(tensor).name = name;
    return {};
  }

  Result<std::vector<float>> Values(const StoredTensor& tensor) const {
    if (tensor.shape.rank() != 1 || !IsFloat(tensor.view.dtype))
      return Corrupt("{}: tensor \"{}\": {} {}, wanted a vector of floats", tensor.file, tensor.name, tensor.stored_type,
                     tensor.shape.ToString());
    std::vector<float> values(static_cast<size_t>(tensor.shape.elems()));
    ConvertToF32(tensor.view.dtype, tensor.view.data, tensor.shape.elems(), values.data());
    return values;
  }

  Status LayerNumbers() {
    for (const GgufName& row : model_.architecture->layer_numbers) {
      NIBBLE_TRY(const std::vector<float> values, file_.metadata.Floats(row.gguf));
      if (static_cast<int64_t>(values.size()) < model_.layers)
        return Corrupt("{}: key \"{}\": {} elements for {} layers", file_.files[0]->path(), row.gguf, values.size(), model_.layers);
      StoredTensor any;
      any.file = file_.files[0]->path();
      any.keep = file_.files[0];
      for (int64_t layer = 0; layer < model_.layers; ++layer)
        out_.push_back(Computed(any, fmt::format("{}.{}.{}", model_.architecture->layers, layer, row.hub),
                                {values[static_cast<size_t>(layer)]}));
    }
    return {};
  }

  const GgufFile& file_;
  const GgufModel& model_;
  std::vector<StoredTensor> out_;
  std::map<std::string, Tensor, std::less<>> row_maps_, column_maps_;
  Tensor q_map_, k_map_;
};

}  // namespace

Tensor InterleavedRows(int64_t heads, int64_t head_dim) {
  Tensor map(DType::kI32, {heads * head_dim});
  for (int64_t head = 0; head < heads; ++head)
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t i = 0; i < head_dim / 2; ++i)
        map.as<int32_t>()[head * head_dim + h * (head_dim / 2) + i] = static_cast<int32_t>(head * head_dim + 2 * i + h);
  return map;
}

Result<GgufTensors> HubTensors(const GgufFile& file, const GgufModel& model) { return Renamer(file, model).Run(); }

}  // namespace nibble
