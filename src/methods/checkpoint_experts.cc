// SPDX-License-Identifier: Apache-2.0
// How a checkpoint finds the matrices of an expert: modules of its own, or its share of tensors that hold all experts.
#include "methods/checkpoint.h"

namespace nibble {
namespace {

// A module of stacked experts that may hold a matrix: its n rows of each expert, and where the wanted ones begin.
struct StackedSpelling {
  std::string module;
  int64_t n = 0, row = 0;
  bool own_rows = true;  // false: gate and up share it, or it is read as a float tensor
};
std::vector<StackedSpelling> StackedSpellings(const std::string& prefix, MoeMatrix which, int64_t n) {
  if (which == MoeMatrix::kDown) return {{prefix + ".down_proj", n, 0, prefix.ends_with("switch_mlp")}};
  const bool up = which == MoeMatrix::kUp;
  return {{prefix + (up ? ".up_proj" : ".gate_proj"), n, 0, true}, {prefix + ".gate_up_proj", 2 * n, up ? n : 0, false}};
}

}  // namespace

std::vector<std::string> Checkpoint::ExpertSpellings(const std::string& prefix, int64_t expert, MoeMatrix which) const {
  static constexpr const char* kNames[3][2] = {{"gate_proj", "w1"}, {"up_proj", "w3"}, {"down_proj", "w2"}};
  std::vector<std::string> names;
  for (const char* name : kNames[static_cast<int>(which)]) names.push_back(fmt::format("{}.{}.{}", prefix, expert, name));
  return names;
}

// Experts in 3-D tensors: modules whose every tensor has a leading dimension of experts, which any method reads expert by expert
// (MLX: "switch_mlp.gate_proj.weight" [E, I, words]).
Result<LinearPart> Checkpoint::FusedExpert(const std::string& prefix, int64_t expert, MoeMatrix which, int64_t n, int64_t k) {
  for (const StackedSpelling& stack : StackedSpellings(prefix, which, n)) {
    if (!StoredModule(stack.module)) continue;
    const LayerQuery query{.kind = LayerKind::kExpert, .name = stack.module, .has = [&](std::string_view suffix) {
                             return Stored(fmt::format("{}.{}", stack.module, suffix));
                           }};
    NIBBLE_TRY(auto method, quantization_->GetQuantMethod(query));
    if (!method && !stack.own_rows) continue;
    if (!method) {
      NIBBLE_TRY(auto plain, FindQuantization("unquantized")->from_config(Json(), {}));
      NIBBLE_TRY(method, plain->GetQuantMethod(query));
    }
    NIBBLE_TRY(BoundParams params, Bind(stack.module, method->CreateWeights({stack.module, stack.n, k})));
    params.n = stack.n;
    params.k = k;
    params.expert = expert;
    for (const auto& [suffix, tensor] : params.params)
      if (tensor->view.rank() < 1 || expert >= tensor->view.dim(0))
        return Corrupt("{}: tensor \"{}\": shape {}, wanted a leading dimension of more than {} experts", tensor->file,
                       tensor->name, tensor->view.shape.ToString(), expert);
    NIBBLE_TRY(LinearPart part, method->MakeWeight(params));
    if (stack.n == n) return part;
    NIBBLE_TRY(StoredWeight cut, Slice(*part.weight, {stack.row, stack.row + n}, {0, k}));
    part.weight = std::make_shared<StoredWeight>(std::move(cut));
    return part;
  }
  return NotFound("no stacked modules");
}

// Float tensors gate_up_proj [E, 2I, H] and down_proj [E, H, I], or transposed; biases beside them [E, 2I] and [E, H].
Result<LinearPart> Checkpoint::StackedFloatExpert(const std::string& prefix, const ExpertQuery& query) {
  const bool down = query.which == MoeMatrix::kDown;
  const std::string block = prefix.ends_with(".experts") ? prefix.substr(0, prefix.size() - 7) : prefix + ".";
  const StoredTensor* tensor = nullptr;
  for (const std::string& name :
       {prefix + (down ? ".down_proj" : ".gate_up_proj"), prefix + (down ? ".down_proj.weight" : ".gate_up_proj.weight"),
        block + (down ? "output_linear.weight" : "input_linear.weight")})
    if (tensor = tensors_.Find(name); tensor) break;
  if (!tensor) return NotFound("experts \"{}\": neither per-expert modules nor a stacked tensor", prefix);
  claimed_.insert(tensor->name);
  const int64_t rows = down ? query.n : 2 * query.n;
  const int64_t first = query.stacked_transposed ? query.k : rows, second = query.stacked_transposed ? rows : query.k;
  if (tensor->view.rank() != 3 || tensor->view.dim(1) != first || tensor->view.dim(2) != second ||
      query.expert >= tensor->view.dim(0) || !IsFloat(tensor->view.dtype))
    return Corrupt("{}: tensor \"{}\": {} {}, wanted floats [experts,{},{}]", tensor->file, tensor->name,
                   DTypeName(tensor->view.dtype), tensor->view.shape.ToString(), first, second);
  const auto own_rows = [&](TensorView view) {  // of gate or up, in the first dimension
    if (down) return view;
    if (!query.stacked_interleaved) return view.Slice(0, query.which == MoeMatrix::kUp ? query.n : 0, query.n);
    TensorView every = view.Slice(0, query.which == MoeMatrix::kUp ? 1 : 0, view.dim(0) - 1);
    every.shape[0] = query.n;
    every.stride[0] *= 2;
    return every;
  };
  TensorView view = tensor->view.Select(0, query.expert);
  if (query.stacked_transposed) {
    std::swap(view.shape[0], view.shape[1]);
    std::swap(view.stride[0], view.stride[1]);
  }
  LinearPart part{.weight = std::make_shared<StoredWeight>(
                      MakeDense(own_rows(view), {tensor->file, fmt::format("{}[{}]", tensor->name, query.expert)}, tensor->keep))};
  const StoredTensor* bias = tensors_.Find(tensor->name + "_bias");
  if (!bias) return part;
  if (bias->view.rank() != 2 || bias->view.dim(0) <= query.expert || bias->view.dim(1) != rows || !IsFloat(bias->view.dtype))
    return Corrupt("{}: tensor \"{}\": {} {}, wanted floats [experts,{}]", bias->file, bias->name, DTypeName(bias->view.dtype),
                   bias->view.shape.ToString(), rows);
  claimed_.insert(bias->name);
  part.bias = own_rows(bias->view.Select(0, query.expert));
  part.bias_keep = bias->keep;
  return part;
}

Result<LinearPart> Checkpoint::StoredExpert(const ExpertQuery& query) {
  const auto& [prefix, other_prefixes, expert, which, n, k, transposed, interleaved] = query;
  std::vector<std::string> prefixes = {prefix};
  prefixes.insert(prefixes.end(), other_prefixes.begin(), other_prefixes.end());
  for (std::string& each : prefixes) each = OnDisk(each);
  for (size_t i = 0, known = prefixes.size(); i < known; ++i)  // MLX's name for stacked experts
    if (std::string_view(prefixes[i]).ends_with(".experts"))
      prefixes.push_back(prefixes[i].substr(0, prefixes[i].size() - 7) + "switch_mlp");
  for (const std::string& each : prefixes) {
    for (const std::string& name : ExpertSpellings(each, expert, which))
      if (StoredModule(name)) {
        NIBBLE_TRY(LinearPart part, Module(LayerKind::kExpert, name, "", n, k));
        NIBBLE_RETURN_IF_ERROR(BindBias(name, {0, n}, &part));
        return part;
      }
    const LayerQuery layer{.kind = LayerKind::kExpert, .name = each, .has = [&](std::string_view suffix) {
                             return Stored(fmt::format("{}.{}", each, suffix));
                           }};
    NIBBLE_TRY(auto method, quantization_->GetMoeMethod(layer));
    if (!method) continue;
    NIBBLE_TRY(BoundParams params, Bind(each, method->CreateWeights(each)));
    params.n = n;
    params.k = k;
    return method->MakeWeight(params, expert, which);
  }
  for (const std::string& each : prefixes) {
    if (auto fused = FusedExpert(each, expert, which, n, k); fused || fused.error().code != Code::kNotFound) return fused;
    if (auto stacked = StackedFloatExpert(each, query); stacked || stacked.error().code != Code::kNotFound) return stacked;
  }
  return NotFound("{}: expert {} of \"{}\": the checkpoint has it in none of the known spellings", path_, expert, prefix);
}

}  // namespace nibble
