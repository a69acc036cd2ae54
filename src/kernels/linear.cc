// SPDX-License-Identifier: Apache-2.0
// Choosing a layout and kernels for each part of a linear layer, packing it, and running a worker's share.
#include "kernels/linear.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/check.h"
#include "kernels/pack_cache.h"
#include "kernels/x_codes.h"
#include "tensors/arena.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

// Smallest m of each bucket, the value kernels are chosen for.
constexpr int64_t kBucketLow[kMBuckets] = {1, 2, 9, 65};

size_t MBucket(int64_t m) {
  size_t bucket = 0;
  while (bucket + 1 < kMBuckets && m >= kBucketLow[bucket + 1]) ++bucket;
  return bucket;
}

std::string IsaRefusal(const KernelRow& kernel, const Machine& machine) {
  return fmt::format("needs {}, this machine runs {}", IsaName(kernel.isa), IsaName(machine.isa));
}

// The best kernel of `layout` that reads x as `form`, for m rows on this machine; null if none.
const KernelRow* BestKernel(const KernelFamily& family, const LayoutRow& layout, XForm form, const Machine& machine, int64_t m) {
  const KernelRow* best = nullptr;
  for (const KernelRow& kernel : family.kernels) {
    if (kernel.layout != &layout || kernel.x != form || kernel.isa > machine.isa || m < kernel.m_lo || m > kernel.m_hi) continue;
    if (!best || kernel.cost < best->cost) best = &kernel;
  }
  return best;
}

std::vector<const KernelFamily*> Families(const Machine& machine) {
  std::vector<const KernelFamily*> all;
  if (!machine.reference_only) all = KernelFamilyTable();
  all.push_back(&ReferenceFamily());
  return all;
}

// Whether a layout for integers could read x: integers, all of them, whose scales are those of whole records.
bool AreIntegers(const ActivationSpec& act) {
  if (act.grain == ActivationSpec::kNone || act.outlier_threshold > 0) return false;
  if (act.grain == ActivationSpec::kGroup && act.group % kXStep != 0) return false;
  return act.code == DType::kI16 || act.code == DType::kI8;
}

// Fills layout and by_m of the segment and says how it reads x, whose demand is `act`; every better candidate that said no is
// recorded.
XForm Choose(const StoredWeight& weight, const ActivationSpec& act, const Machine& machine, Segment* segment,
             std::vector<Refusal>* refused) {
  for (const KernelFamily* family : Families(machine)) {
    for (const LayoutRow* layout : family->layouts) {
      if (layout->form && !AreIntegers(act)) {
        refused->push_back({segment->part, layout->name, "multiplies integers, x are floats here (--activations)"});
        continue;
      }
      const Support support = layout->supports(weight);
      if (!support.ok) {
        refused->push_back({segment->part, layout->name, support.why});
        continue;
      }
      const XForm form = layout->form ? layout->form(weight, act, machine.isa) : XForm::kF32;
      for (const KernelRow& kernel : family->kernels)
        if (kernel.layout == layout && kernel.x == form && kernel.isa > machine.isa)
          refused->push_back({segment->part, kernel.name, IsaRefusal(kernel, machine)});
      for (int i = 0; i < kMBuckets; ++i)
        segment->by_m[static_cast<size_t>(i)] = BestKernel(*family, *layout, form, machine, kBucketLow[i]);
      segment->layout = layout;
      return form;
    }
  }
  NIBBLE_CHECK(false, "the reference refuses {}", weight.format->name);
}

std::vector<float> BiasOf(const LinearPart& part) {
  std::vector<float> bias;
  if (!part.bias) return bias;
  bias.resize(static_cast<size_t>(part.weight->n));
  for (int64_t i = 0; i < part.weight->n; ++i)
    bias[static_cast<size_t>(i)] = LoadScalar(part.bias.dtype, part.bias.data, i * part.bias.stride[0]);
  return bias;
}

bool SameTransforms(const std::vector<Transform>& a, const std::vector<Transform>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Transform& s, const Transform& t) {
    return s.kind == t.kind && s.block == t.block && s.inverse == t.inverse && s.data.data == t.data.data &&
           s.data2.data == t.data2.data;
  });
}

// The form and demand of x for this part: the method's, or what the policy allows if some layout multiplies such integers.
PackedWeight::Input InputOf(const LinearProblem& problem, const LinearPart& part, const Machine& machine, Segment* segment,
                            std::vector<Refusal>* refused) {
  const StoredWeight& weight = *part.weight;
  PackedWeight::Input input{.transforms = weight.in, .keep = weight.keep};
  const bool demands = part.act.grain != ActivationSpec::kNone && !problem.ignore_activation_scheme;
  input.act = demands ? part.act : PolicyActivations(problem.policy, weight);
  input.form = Choose(weight, input.act, machine, segment, refused);
  if (!demands && input.form == XForm::kF32) input.act = {};
  return input;
}

int InputIndex(PackedWeight::Input input, PackedWeight* packed) {
  for (size_t i = 0; i < packed->inputs.size(); ++i) {
    const PackedWeight::Input& other = packed->inputs[i];
    if (other.act == input.act && other.form == input.form && SameTransforms(other.transforms, input.transforms))
      return static_cast<int>(i);
  }
  packed->inputs.push_back(std::move(input));
  return static_cast<int>(packed->inputs.size()) - 1;
}

// a and b turned, so that both products run along contiguous rows.
void BindLowRank(const StoredWeight& weight, PackedWeight::Output* output) {
  const TensorView &a = weight.lora_a, &b = weight.lora_b;
  if (!a) return;
  output->rank = a.dim(0);
  const auto at = [](const TensorView& view, int64_t i, int64_t j) {
    return LoadScalar(view.dtype, view.data, i * view.stride[0] + j * view.stride[1]);
  };
  for (int64_t i = 0; i < weight.k; ++i)
    for (int64_t r = 0; r < output->rank; ++r) output->lora_a.push_back(at(a, r, i));
  for (int64_t r = 0; r < output->rank; ++r)
    for (int64_t i = 0; i < weight.n; ++i) output->lora_b.push_back(at(b, i, r));
}

// Packs all strips on the team, the same strips on the same worker as they will run (first touch).
Status PackSegment(Segment* segment, std::byte* out, ThreadTeam& team) {
  std::mutex mutex;
  Status status;
  team.Run([&](int worker) {
    const Status mine = segment->layout->pack(*segment->weight, SplitRange(segment->strips(), worker, team.size()), out);
    if (mine) return;
    const std::lock_guard lock(mutex);
    if (status) status = mine;
  });
  return status;
}

Status PlaceSegment(const LinearProblem& problem, Segment* segment, PackedWeight* packed, ThreadTeam& team) {
  segment->state = segment->layout->prepare(*segment->weight);
  const int64_t bytes = segment->layout->packed_bytes(*segment->weight);
  if (bytes == 0) return {};
  packed->packed_bytes += bytes;
  if (!problem.cache_dir.empty()) {
    NIBBLE_TRY(auto cached, LoadOrPack(problem.cache_dir, *segment, bytes, team,
                                       [&](std::byte* out) { return PackSegment(segment, out, team); }));
    segment->data = cached.data;
    packed->keep.push_back(std::move(cached.keep));
    return {};
  }
  std::shared_ptr<std::byte> buffer;
  if (problem.arena) {
    buffer = problem.arena->Take(bytes);
  } else {
    auto own = std::make_shared<Buffer>(bytes);
    buffer = {own, own->data()};
  }
  NIBBLE_RETURN_IF_ERROR(PackSegment(segment, buffer.get(), team));
  segment->data = buffer.get();
  packed->keep.push_back(std::move(buffer));
  return {};
}

}  // namespace

const char* ActivationPolicyName(ActivationPolicy policy) {
  switch (policy) {
    case ActivationPolicy::kF32: return "f32";
    case ActivationPolicy::kInt8: return "int8";
    case ActivationPolicy::kInt16: return "int16";
    case ActivationPolicy::kAuto: return "auto";
  }
  return "f32";
}

double RoundingBound(int64_t k) {
  // A chain of n roundings is bounded by n * 2^-24 / (1 - n * 2^-24); block chains, then the sum over blocks, then one for the
  // bias. Two for a scale: of the block sum it multiplies, and of each decoded weight that the bound compares with.
  const double roundings = static_cast<double>(std::min(k, kBlockK) + CeilDiv(k, kBlockK) + 3), u = 0x1p-24;
  return roundings * u / (1 - roundings * u);
}

bool ScalesBlockSums(const Coded& weight, int64_t k) {
  const auto whole_blocks = [&](const Plane& plane) {
    const bool one_group = plane.block_k == 0 || plane.block_k >= k + weight.k_phase;
    return !plane.flat && (one_group || (plane.block_k % kBlockK == 0 && weight.k_phase % kBlockK == 0));
  };
  return weight.rule == ValueRule::kFloat && weight.float_type == DType::kE4M3 && !weight.group_of_k &&
         whole_blocks(weight.scale) && (!weight.scale2 || whole_blocks(*weight.scale2));
}

int64_t PackedWeight::strips() const {
  int64_t total = 0;
  for (const Segment& segment : segments) total += segment.strips();
  return total;
}

Result<PackedWeight> ChooseLinear(const LinearProblem& problem, const Machine& machine) {
  PackedWeight chosen;
  chosen.k = problem.k;
  for (size_t i = 0; i < problem.parts.size(); ++i) {
    const LinearPart& part = problem.parts[i];
    NIBBLE_CHECK(part.weight->k == problem.k, "part {} has k {}, the layer {}", i, part.weight->k, problem.k);
    Segment segment;
    segment.part = static_cast<int>(i);
    segment.n = part.weight->n;
    segment.k = problem.k;
    segment.n_begin = chosen.n;
    segment.weight = part.weight;
    segment.bias = BiasOf(part);
    segment.input = InputIndex(InputOf(problem, part, machine, &segment, &chosen.refused), &chosen);
    const ActivationSpec out_act = problem.ignore_activation_scheme ? ActivationSpec{} : part.out_act;
    if (!part.weight->out.empty() || part.weight->lora_a || out_act.grain != ActivationSpec::kNone) {
      chosen.outputs.push_back({.n_begin = chosen.n,
                                .n = segment.n,
                                .transforms = part.weight->out,
                                .bias = std::exchange(segment.bias, {}),
                                .input = segment.input,
                                .act = out_act,
                                .keep = part.weight->keep});
      BindLowRank(*part.weight, &chosen.outputs.back());
    }
    chosen.n += segment.n;
    chosen.segments.push_back(std::move(segment));
  }
  return chosen;
}

Result<PackedWeight> PrepareLinear(const LinearProblem& problem, const Machine& machine, ThreadTeam& team) {
  NIBBLE_TRY(PackedWeight packed, ChooseLinear(problem, machine));
  for (Segment& segment : packed.segments) NIBBLE_RETURN_IF_ERROR(PlaceSegment(problem, &segment, &packed, team));
  return packed;
}

void AddLowRank(const PackedWeight::Output& output, const float* x, int64_t k, float* y, std::vector<float>* scratch) {
  const auto rank = static_cast<size_t>(output.rank);
  scratch->assign(rank, 0.0f);
  float* t = scratch->data();
  const float* a = output.lora_a.data();
  for (int64_t i = 0; i < k; ++i, a += rank)
    for (size_t r = 0; r < rank; ++r) t[r] += x[i] * a[r];
  const float* b = output.lora_b.data();
  for (size_t r = 0; r < rank; ++r, b += output.n)
    for (int64_t i = 0; i < output.n; ++i) y[i] += t[r] * b[i];
}

void RunStrips(const PackedWeight& weight, int input, Range strips, const LinearArgs& args, std::byte* scratch) {
  const size_t bucket = MBucket(args.m);
  int64_t first = 0;  // strip number of the segment's first strip in the layer
  for (const Segment& segment : weight.segments) {
    const Range mine{std::max(strips.begin - first, int64_t{0}), std::min(strips.end - first, segment.strips())};
    first += segment.strips();
    if (!mine.empty() && segment.input == input) segment.by_m[bucket]->run(segment, mine, args, scratch);
  }
}

void RunStrips(const PackedWeight& weight, std::span<const LinearArgs> inputs, Range strips, std::byte* scratch) {
  for (size_t i = 0; i < inputs.size(); ++i) RunStrips(weight, static_cast<int>(i), strips, inputs[i], scratch);
}

void RunLinear(const PackedWeight& weight, std::span<const LinearArgs> inputs, int worker, int workers, std::byte* scratch) {
  RunStrips(weight, inputs, SplitRange(weight.strips(), worker, workers), scratch);
}

}  // namespace nibble
