// SPDX-License-Identifier: Apache-2.0
#include "eval/explain.h"

#include <algorithm>
#include <map>

#include "models/matrices.h"

namespace nibble {
namespace {

// The layer's number becomes "*" and is returned; -1 if the name has none. So does an expert's number, which nobody asks for.
int64_t Generalize(std::string* name) {
  int64_t layer = -1;
  for (const std::string_view mark : {".layers.", ".experts."}) {
    const size_t at = name->find(mark);
    if (at == std::string::npos) continue;
    const size_t begin = at + mark.size();
    size_t end = begin;
    while (end < name->size() && (*name)[end] >= '0' && (*name)[end] <= '9') ++end;
    if (end == begin) continue;
    if (mark == ".layers.") layer = std::strtoll(name->c_str() + begin, nullptr, 10);
    name->replace(begin, end - begin, "*");
  }
  return layer;
}

std::string KeyOf(const std::vector<ExplainedPart>& parts) {
  std::string key;
  for (const ExplainedPart& p : parts) {
    key += fmt::format("{}|{}|{}|{}|{}|{}|", p.name, p.n, p.k, p.method, p.format, p.activation);
    for (const std::string& kernel : p.kernels) key += kernel + "|";
    for (const auto& [candidate, why] : p.refused) key += candidate + ":" + why + "|";
  }
  return key;
}

class Explainer {
 public:
  Explainer(Checkpoint& checkpoint, const LoadOptions& options) : checkpoint_(checkpoint), options_(options) {}

  Result<Explanation> Run() {
    NIBBLE_TRY(const ModelConfig config, ConfigOf(checkpoint_, options_));
    NIBBLE_TRY(const Architecture* architecture, FindArchitecture(config.model_type));
    UseNamesOf(*architecture, checkpoint_);
    NIBBLE_TRY(const Graph graph, architecture->build(config, 0, 1));
    result_.method = checkpoint_.quantization().Describe();
    result_.isa = IsaName(options_.isa);
    result_.from_config_alone = !checkpoint_.has_weights();
    for (const LinearSpec& spec : graph.linears) NIBBLE_RETURN_IF_ERROR(AddLinear(spec));
    for (const MoeSpec& moe : graph.moes) NIBBLE_RETURN_IF_ERROR(AddExperts(moe));
    NIBBLE_TRY(const std::optional<KvFormats> kv, KvScheme(checkpoint_, graph));
    if (kv) result_.kv_scheme = kv->name();
    return std::move(result_);
  }

 private:
  Status AddLinear(const LinearSpec& spec) {
    std::vector<LinearPart> parts;
    std::vector<std::string> names;
    for (const LinearPartSpec& part : spec.parts) {
      names.push_back(part.name);
      if (checkpoint_.has_weights()) continue;
      const LayerKind kind = spec.is_lm_head ? LayerKind::kLmHead : LayerKind::kLinear;
      NIBBLE_TRY(parts.emplace_back(), Sketch(kind, part.name, part.fused_name, part.n, spec.k));
    }
    if (checkpoint_.has_weights()) {
      NIBBLE_TRY(parts, LinearParts(checkpoint_, spec));
    }
    return Add(names, std::move(parts), spec.k);
  }

  Status AddExperts(const MoeSpec& moe) {
    for (int64_t e = 0; e < moe.experts; ++e) {
      const auto name = [&](const char* which) { return fmt::format("{}.{}.{}", moe.prefix, e, which); };
      const auto load = [&](MoeMatrix which, int64_t n, int64_t k) -> Result<LinearPart> {
        if (checkpoint_.has_weights())
          return checkpoint_.Expert(
              {moe.prefix, moe.prefixes_on_disk, e, which, n, k, moe.stacked_transposed, moe.stacked_interleaved});
        static constexpr const char* kNames[] = {"gate_proj", "up_proj", "down_proj"};
        return Sketch(LayerKind::kExpert, name(kNames[static_cast<int>(which)]), "", n, k);
      };
      NIBBLE_TRY(LinearPart gate, load(MoeMatrix::kGate, moe.inter, moe.hidden));
      NIBBLE_TRY(LinearPart up, load(MoeMatrix::kUp, moe.inter, moe.hidden));
      NIBBLE_TRY(LinearPart down, load(MoeMatrix::kDown, moe.hidden, moe.inter));
      NIBBLE_RETURN_IF_ERROR(Add({name("gate_proj"), name("up_proj")}, {gate, up}, moe.hidden));
      NIBBLE_RETURN_IF_ERROR(Add({name("down_proj")}, {down}, moe.inter));
    }
    return {};
  }

  // A weight in the form that the method usually gives: what kernels ask is the kind of its codes.
  Result<LinearPart> Sketch(LayerKind kind, const std::string& name, const std::string& fused, int64_t n, int64_t k) {
    const LayerQuery query{.kind = kind, .name = name, .fused_name = fused};
    NIBBLE_TRY(const auto method, checkpoint_.quantization().GetQuantMethod(query));
    const double bits = method ? checkpoint_.quantization().EstimateBits(query) : 0;
    if (bits <= 0) return SketchWeight(FindFormat("dense"), 16, n, k);
    const QuantizationEntry* entry = FindQuantization(checkpoint_.quantization().name());
    const bool floats = entry && entry->formats == std::vector<std::string_view>{"fp8"};
    LinearPart part = SketchWeight(FindFormat(floats ? "fp8" : "int_group"), static_cast<int>(bits), n, k);
    estimated_[part.weight.get()] = fmt::format("~{:.2f} bits", bits);
    return part;
  }

  std::string FormatOf(const LinearPart& part) const {
    const auto it = estimated_.find(part.weight.get());
    return it != estimated_.end() ? it->second : result_.from_config_alone ? "float" : Describe(*part.weight);
  }

  Status Add(const std::vector<std::string>& names, std::vector<LinearPart> parts, int64_t k) {
    const LinearProblem problem{.parts = std::move(parts),
                                .k = k,
                                .policy = options_.activations,
                                .ignore_activation_scheme = options_.ignore_activation_scheme};
    NIBBLE_TRY(const PackedWeight chosen, ChooseLinear(problem, {.isa = options_.isa, .reference_only = options_.reference}));
    ExplainedLayer layer;
    int64_t number = -1;
    for (const Segment& segment : chosen.segments) {
      const auto index = static_cast<size_t>(segment.part);
      const LinearPart& part = problem.parts[index];
      ExplainedPart out{.name = names[index], .n = segment.n, .k = k};
      number = Generalize(&out.name);
      out.method =
          std::holds_alternative<Dense>(part.weight->body) ? "unquantized" : std::string(checkpoint_.quantization().name());
      out.format = FormatOf(part);
      out.activation = DescribeActivation(chosen.inputs[static_cast<size_t>(segment.input)].act);
      // What a scheme demands of x is known from the stored tensors.
      if (estimated_.count(part.weight.get()) && out.activation == "f32" && !options_.ignore_activation_scheme)
        out.activation = "f32, or what the scheme demands";
      for (size_t i = 0; i < kMBuckets; ++i) out.kernels[i] = segment.by_m[i] ? segment.by_m[i]->name : "none";
      for (const Refusal& refusal : chosen.refused)
        if (refusal.part == segment.part) out.refused.emplace_back(refusal.candidate, refusal.why);
      layer.parts.push_back(std::move(out));
    }
    const auto [it, fresh] = by_key_.try_emplace(KeyOf(layer.parts), result_.layers.size());
    if (fresh) result_.layers.push_back(std::move(layer));
    ExplainedLayer& group = result_.layers[it->second];
    ++group.count;
    if (number >= 0 && (group.layers.empty() || group.layers.back() != number)) group.layers.push_back(number);
    estimated_.clear();
    return {};
  }

  Checkpoint& checkpoint_;
  const LoadOptions& options_;
  Explanation result_;
  std::map<std::string, size_t> by_key_;
  std::map<const StoredWeight*, std::string> estimated_;
};

}  // namespace

Result<Explanation> ExplainModel(Checkpoint& checkpoint, const LoadOptions& options) {
  ExpectSparseReads(checkpoint);
  return Explainer(checkpoint, options).Run();
}

std::string RangesOf(const std::vector<int64_t>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t j = i;
    while (j + 1 < numbers.size() && numbers[j + 1] == numbers[j] + 1) ++j;
    text += (text.empty() ? "" : ", ") + (i == j ? std::to_string(numbers[i]) : fmt::format("{}-{}", numbers[i], numbers[j]));
    i = j + 1;
  }
  return text;
}

std::string DescribeActivation(const ActivationSpec& spec) {
  if (spec.grain == ActivationSpec::kNone) return "f32";
  std::string text = spec.code == DType::kI8 || spec.code == DType::kI16 ? fmt::format("int{}", spec.bits) : DTypeName(spec.code);
  if (spec.grain == ActivationSpec::kTensor) text += " per tensor";
  if (spec.grain == ActivationSpec::kToken) text += " per token";
  if (spec.grain == ActivationSpec::kGroup) text += fmt::format(" groups of {}", spec.group);
  text += spec.dynamic ? ", dynamic" : ", static";
  if (!spec.symmetric) text += ", asymmetric";
  return text;
}

LinearPart SketchWeight(FormatId format, int bits, int64_t n, int64_t k) {
  static const std::byte kNothing[64] = {};
  StoredWeight weight{.format = format, .n = n, .k = k};
  if (format->is_blocked()) {
    weight.body = Blocked{.blocks = TensorView(kNothing, DType::kU8, {n, format->row_bytes(k)})};
  } else if (format->name == "dense" || (format->block_elems == 1 && format->ggml_type >= 0)) {
    weight.body = Dense{TensorView(kNothing, DType::kBF16, {n, k})};
  } else if (format->name == "trellis") {
    weight.body = Trellis{};
  } else if (format->name == "codebook") {
    weight.body = Custom{};
  } else {
    Coded coded;
    coded.codes.bits = std::clamp(bits, 1, 8);
    coded.scale = {.data = TensorView(kNothing, DType::kF16, {n, 1}), .block_n = 1};
    if (format->name == "fp8") {
      coded.codes.bits = 8;
      coded.rule = ValueRule::kFloat;
      coded.float_type = DType::kE4M3;
    } else if (format->name == "table") {
      coded.rule = ValueRule::kTable;
      coded.table = TensorView(kNothing, DType::kF32, {int64_t{1} << coded.codes.bits});
    }
    weight.body = std::move(coded);
  }
  return {.weight = std::make_shared<StoredWeight>(std::move(weight))};
}

std::string KernelForFormat(FormatId format, const Machine& machine) {
  const int64_t k = std::max<int64_t>(format->block_elems, 256);
  if (format->is_blocked() && !format->decode) return "";
  const auto chosen = ChooseLinear({.parts = {SketchWeight(format, 4, kStripRows, k)}, .k = k}, machine);
  return chosen && chosen->segments[0].by_m[0] ? chosen->segments[0].by_m[0]->name : "";
}

}  // namespace nibble
