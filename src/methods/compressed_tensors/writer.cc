// SPDX-License-Identifier: Apache-2.0
#include "methods/compressed_tensors/writer.h"

#include <cmath>
#include <cstring>

#include "formats/packing/bit_stream.h"
#include "formats/packing/bytes.h"
#include "formats/plane.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

struct Source {
  const StoredWeight& weight;
  const Coded& coded;
  int bits() const { return coded.codes.bits; }
  bool is_float() const { return coded.rule == ValueRule::kFloat; }
};

Status CheckWritable(const StoredWeight& weight, const Coded& coded) {
  const auto no = [&](const char* what) {
    return Unsupported("{}: compressed-tensors cannot store {}", weight.origin.tensor, what);
  };
  if (!weight.in.empty() || !weight.out.empty()) return no("a weight with transforms here");
  if (weight.lora_a || weight.row_map) return no("low-rank factors or row maps");
  if (coded.k_phase != 0 || coded.n_phase != 0) return no("a slice that begins inside a block of scales");
  const Plane& scale = coded.scale;
  if (coded.scale2 || scale.flat || scale.table || scale.outer || scale.reciprocal || scale.multiplier != 1 || scale.packed) {
    return no("scales that are no plain tensor");
  }
  if (coded.rule == ValueRule::kFloat) return coded.float_type == DType::kE4M3 ? Status() : no("floats other than e4m3");
  if (coded.rule != ValueRule::kIntMinusZero || coded.codes.bits < 2) return no("codes that are no integers of 2 to 8 bits");
  if (!coded.zero && coded.zero_default != static_cast<float>(1 << (coded.codes.bits - 1))) return no("this fixed zero point");
  if (coded.zero && (coded.zero->block_n != scale.block_n || coded.zero->block_k != scale.block_k))
    return no("zero points of another grain");
  return {};
}

int64_t ScaleRows(const Source& source) {
  return source.coded.scale.block_n == 0 ? 1 : CeilDiv(source.weight.n, source.coded.scale.block_n);
}
int64_t ScaleGroups(const Source& source) {
  const Plane& scale = source.coded.scale;
  if (scale.block_k == 0) return 1;
  return source.coded.group_of_k ? scale.data.dim(1) : CeilDiv(source.weight.k, scale.block_k);
}

std::vector<uint8_t> RowCodes(const Source& source, int64_t row) {
  std::vector<uint8_t> codes(static_cast<size_t>(source.weight.k));
  source.coded.codes.read(source.coded.codes, {row, row + 1}, {0, source.weight.k}, codes.data());
  return codes;
}

Tensor PackedCodes(const Source& source) {
  const int64_t words = DenseStreamWords(source.weight.k, source.bits());
  Tensor packed(DType::kI32, {source.weight.n, words});
  for (int64_t row = 0; row < source.weight.n; ++row) {
    EncodeDenseStream(RowCodes(source, row).data(), source.weight.k, source.bits(), packed.as<uint32_t>() + row * words, 1);
  }
  return packed;
}

Tensor ByteCodesOf(const Source& source) {
  const int offset = source.is_float() ? 0 : 1 << (source.bits() - 1);
  Tensor bytes(source.is_float() ? DType::kE4M3 : DType::kI8, {source.weight.n, source.weight.k});
  for (int64_t row = 0; row < source.weight.n; ++row) {
    EncodeByteCodes(RowCodes(source, row).data(), source.weight.k, offset, bytes.bytes->data() + row * source.weight.k);
  }
  return bytes;
}

// The stored bits, gathered into a contiguous tensor; [1] per tensor, as the tools write it.
Tensor ScaleTensor(const Source& source) {
  const TensorView& data = source.coded.scale.data;
  const int64_t rows = ScaleRows(source), groups = ScaleGroups(source), size = DTypeBytes(data.dtype);
  Tensor scale(data.dtype, source.coded.scale.block_n == 0 && groups == 1 ? Shape{1} : Shape{rows, groups});
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t g = 0; g < groups; ++g) {
      std::memcpy(scale.bytes->data() + (i * groups + g) * size, data.data + (i * data.stride[0] + g * data.stride[1]) * size,
                  static_cast<size_t>(size));
    }
  }
  return scale;
}

// Zero points as unsigned codes [rows of the scale][groups].
Result<std::vector<uint8_t>> ZeroCodes(const Source& source) {
  const int64_t rows = ScaleRows(source), groups = ScaleGroups(source);
  std::vector<uint8_t> codes;
  std::vector<float> row(static_cast<size_t>(groups));
  for (int64_t i = 0; i < rows; ++i) {
    ReadPlaneGroups(*source.coded.zero, i, {0, groups}, row.data());
    for (const float zero : row) {
      if (zero != std::floor(zero) || zero < 0 || zero >= static_cast<float>(1 << source.bits())) {
        return Unsupported("{}: compressed-tensors cannot store the zero point {} of {}-bit codes (row block {})",
                           source.weight.origin.tensor, zero, source.bits(), i);
      }
      codes.push_back(static_cast<uint8_t>(zero));
    }
  }
  return codes;
}

Result<Tensor> ZeroTensor(const Source& source, bool packed) {
  NIBBLE_TRY(const std::vector<uint8_t> codes, ZeroCodes(source));
  const int64_t rows = ScaleRows(source), groups = ScaleGroups(source);
  if (!packed || source.coded.scale.block_n == 0) {
    Tensor bytes(DType::kI8, {rows, groups});
    EncodeByteCodes(codes.data(), rows * groups, 1 << (source.bits() - 1), bytes.bytes->data());
    return bytes;
  }
  Tensor words(DType::kI32, {DenseStreamWords(rows, source.bits()), groups});  // packed along the rows
  std::vector<uint8_t> column(static_cast<size_t>(rows));
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t i = 0; i < rows; ++i) column[static_cast<size_t>(i)] = codes[static_cast<size_t>(i * groups + g)];
    EncodeDenseStream(column.data(), rows, source.bits(), words.as<uint32_t>() + g, groups);
  }
  return words;
}

Tensor MapTensor(const Source& source) {
  Tensor map(DType::kI32, {source.weight.k});
  for (int64_t k = 0; k < source.weight.k; ++k)
    map.as<int32_t>()[k] = static_cast<int32_t>(GroupOf(source.coded, source.coded.scale, k));
  return map;
}

Json WeightArgs(const Source& source) {
  const Plane& scale = source.coded.scale;
  Json args = {{"num_bits", source.bits()},
               {"type", source.is_float() ? "float" : "int"},
               {"symmetric", !source.coded.zero},
               {"dynamic", false},
               {"group_size", nullptr},
               {"block_structure", nullptr},
               {"actorder", nullptr}};
  if (scale.block_n == 0 && scale.block_k == 0)
    args["strategy"] = "tensor";
  else if (scale.block_n == 1 && scale.block_k == 0)
    args["strategy"] = "channel";
  else if (scale.block_n == 1)
    args["strategy"] = "group", args["group_size"] = scale.block_k;
  else
    args["strategy"] = "block", args["block_structure"] = {scale.block_n, scale.block_k};
  if (source.coded.group_of_k) args["actorder"] = "group";
  return args;
}

Json InputArgs(const ActivationSpec& act) {
  if (act.grain == ActivationSpec::kNone) return nullptr;
  const char* strategy = act.grain == ActivationSpec::kTensor ? "tensor" : act.grain == ActivationSpec::kToken ? "token" : "group";
  Json args = {{"num_bits", act.bits},       {"type", act.code == DType::kI8 ? "int" : "float"},
               {"symmetric", act.symmetric}, {"strategy", strategy},
               {"dynamic", act.dynamic},     {"group_size", nullptr}};
  if (act.grain == ActivationSpec::kGroup) args["group_size"] = act.group;
  return args;
}

void AddInputScales(const ActivationSpec& act, CtWritten& written) {
  if (act.grain == ActivationSpec::kNone || act.dynamic) return;
  Tensor scale(DType::kF32, {1});
  *scale.as<float>() = act.scale;
  written.tensors.push_back({"input_scale", scale});
  if (act.symmetric) return;
  Tensor zero(DType::kI8, {1});
  *zero.as<int8_t>() = static_cast<int8_t>(act.zero);
  written.tensors.push_back({"input_zero_point", zero});
}

}  // namespace

Result<CtWritten> WriteCtWeight(const StoredWeight& weight, const ActivationSpec& act, std::string_view format) {
  const auto* coded = std::get_if<Coded>(&weight.body);
  if (!coded)
    return Unsupported("{}: compressed-tensors stores integers and e4m3 with scales, this is {}", weight.origin.tensor,
                       Describe(weight));
  NIBBLE_RETURN_IF_ERROR(CheckWritable(weight, *coded));
  const Source source{weight, *coded};
  const bool bytes = source.bits() == 8 && act.grain != ActivationSpec::kNone;
  if (format.empty()) format = source.is_float() ? "float-quantized" : bytes ? "int-quantized" : "pack-quantized";
  if (source.is_float() != (format == "float-quantized")) {
    return Unsupported("{}: {} cannot be stored as {}", weight.origin.tensor, Describe(weight), format);
  }
  CtWritten written;
  const bool packed = format == "pack-quantized";
  written.tensors.push_back(packed ? CtTensor{"weight_packed", PackedCodes(source)} : CtTensor{"weight", ByteCodesOf(source)});
  written.tensors.push_back({"weight_scale", ScaleTensor(source)});
  if (packed) {
    Tensor shape(DType::kI64, {2});
    shape.as<int64_t>()[0] = weight.n;
    shape.as<int64_t>()[1] = weight.k;
    written.tensors.push_back({"weight_shape", shape});
  }
  if (coded->zero) {
    NIBBLE_TRY(Tensor zeros, ZeroTensor(source, packed));
    written.tensors.push_back({"weight_zero_point", std::move(zeros)});
  }
  if (coded->group_of_k) written.tensors.push_back({"weight_g_idx", MapTensor(source)});
  AddInputScales(act, written);
  written.group = {
      {"weights", WeightArgs(source)}, {"input_activations", InputArgs(act)}, {"output_activations", nullptr}, {"format", format}};
  return written;
}

Json MakeCtConfig(const std::vector<std::pair<Json, std::vector<std::string>>>& groups, const std::vector<std::string>& ignore) {
  Json config = {{"quant_method", "compressed-tensors"},
                 {"quantization_status", "compressed"},
                 {"ignore", ignore},
                 {"kv_cache_scheme", nullptr},
                 {"config_groups", Json::object()}};
  std::string format;
  for (size_t i = 0; i < groups.size(); ++i) {
    Json group = groups[i].first;
    group["targets"] = groups[i].second;
    const std::string own = group["format"];
    format = format.empty() || format == own ? own : "mixed-precision";
    config["config_groups"][fmt::format("group_{}", i)] = std::move(group);
  }
  config["format"] = format;
  return config;
}

}  // namespace nibble
