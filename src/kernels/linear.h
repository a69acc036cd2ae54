// SPDX-License-Identifier: Apache-2.0
// Linear layers on one device: the problem, the tables of layouts and kernels, the choice with its reasons, and the packed result.
//
//   y[m, n] = x[m, k] W^T + bias,   W = rows of all parts, stacked; x is transformed and quantized per part as its weight demands.
//
// Parts that share x (q,k,v; gate,up) are segments of one PackedWeight, exact per part whatever their formats.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "base/status.h"
#include "base/thread_team.h"
#include "formats/activation.h"
#include "formats/stored_weight.h"
#include "tensors/arena.h"

namespace nibble {

struct LinearPart {
  std::shared_ptr<const StoredWeight> weight;
  ActivationSpec act;      // what the method demands of x, after the weight's `in` transforms
  ActivationSpec out_act;  // what it demands of y, after the bias
  TensorView bias;         // f32, f16 or bf16 [n]; empty: none
  std::shared_ptr<const void> bias_keep;
};

// Choice of the user: what may be done to x where the method demands nothing and a kernel multiplies integers.
enum class ActivationPolicy : uint8_t {
  kF32,    // nothing
  kInt8,   // 8-bit integers, one scale for each 32 columns
  kInt16,  // 16-bit integers: errors of 2^-16 of the largest of 32, far below any weight's own rounding
  kAuto,   // the narrowest whose error is at most a tenth of the weight format's own (docs/activations.md)
};
const char* ActivationPolicyName(ActivationPolicy policy);

struct Machine {
  Isa isa = Isa::kScalar;
  bool reference_only = false;  // for tests and for checking a kernel against the definition
};

struct LinearProblem {
  std::vector<LinearPart> parts;
  int64_t k = 0;
  ActivationPolicy policy = ActivationPolicy::kF32;
  bool ignore_activation_scheme = false;  // compute the checkpoint's weights with float activations
  std::string cache_dir;                  // packed layouts are kept here; empty: not
  Arena* arena = nullptr;                 // where packed layouts go else; null: each to a buffer of its own
};

struct Support {
  bool ok = true;
  std::string why;  // refusal: value found, values allowed
};

struct Segment;

// How a kernel wants x: f32 values (of quantized x: what its codes mean), or integers with scales (kernels/x_codes.h).
enum class XForm : uint8_t { kF32, kI8, kI16 };

// Arguments of one call. x: [m] rows of k f32 values, already transformed and quantized for the segment's input; in the integer
// forms the bytes of XCodes of m rows, and x_stride means nothing.
struct LinearArgs {
  const float* x = nullptr;
  int64_t x_stride = 0;
  float* y = nullptr;  // row i, output n at y[i * y_stride + n]
  int64_t y_stride = 0;
  int64_t m = 0;
};

struct LayoutRow {  // bytes in memory; several kernels read one layout
  const char* name;
  uint32_t version;
  Support (*supports)(const StoredWeight& weight);
  int64_t (*packed_bytes)(const StoredWeight& weight);  // 0: runs on the file's own bytes
  // Packs strips [begin, end) of `weight` into `out`, the whole layout's first byte. Thread-safe for disjoint strips.
  // Errors: values that the layout cannot hold (NaN scales), named.
  Status (*pack)(const StoredWeight& weight, Range strips, std::byte* out);
  // What is shared by all strips and kept in memory beside the bytes (decoder choice, group map).
  std::shared_ptr<const void> (*prepare)(const StoredWeight& weight);
  // Null: kernels read x as f32. Otherwise the form in which they read such integers (8 or 16 bits) on this machine.
  XForm (*form)(const StoredWeight& weight, const ActivationSpec& act, Isa isa) = nullptr;
};

struct KernelRow {  // one line of a family's kernels.inc
  const char* name;
  const LayoutRow* layout;
  Isa isa;
  int64_t m_lo, m_hi;
  double cost;  // relative time per weight at m_lo; orders candidates
  XForm x;      // says the order of sums too: kernels that read one form agree bit for bit
  // Rows [strips] of the segment: one worker's share. scratch: kLinearScratchBytes of this worker.
  void (*run)(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch);
};

inline constexpr int64_t kStripRows = 64;  // rows that one strip of any layout covers
// Orders of sums. x are floats: a chain of fma over kBlockK columns, block sums added in order. x are integers: exact integer sums
// over 16 or 32 columns, each times its scales added in f32, in order; scales that are integers times one float: 32 columns are
// added at once (kernels/cpu/strip64/two_level.h).
inline constexpr int64_t kBlockK = 128;
// Whether the order for floats multiplies by the scale last, block by block: y = sum of S * (sum of code x over a block). So it is
// for e4m3 codes whose scales hold for whole blocks; every other weight is S * code first, rounded.
bool ScalesBlockSums(const Coded& weight, int64_t k);
inline constexpr int64_t kLinearScratchBytes = 168 << 10;  // per worker

// Bound on |y - exact| / sum |w||x| where x are floats, for k columns, w and x taken as decoded: one rounding per fused
// multiply-add of a block, one per block sum, those of a scale and of the bias.
double RoundingBound(int64_t k);

struct KernelFamily {
  const char* name;
  std::span<const LayoutRow* const> layouts;  // best first
  std::span<const KernelRow> kernels;         // best first
};

// Kernels are chosen for 1, 2 to 8, 9 to 64, and more rows.
inline constexpr int kMBuckets = 4;

struct Segment {  // one part, in one layout
  const LayoutRow* layout = nullptr;
  int64_t n = 0, k = 0, n_begin = 0;  // rows [n_begin, n_begin + n) of the layer's output
  int part = 0, input = 0;
  const std::byte* data = nullptr;
  std::shared_ptr<const void> state;           // LayoutRow::prepare
  std::shared_ptr<const StoredWeight> weight;  // for layouts that run on the file's bytes, and for messages
  std::vector<float> bias;                     // [n] or empty
  std::array<const KernelRow*, kMBuckets> by_m{};
  int64_t strips() const { return CeilDiv(n, kStripRows); }
};

struct Refusal {
  int part;
  std::string candidate, why;  // "strip64.avx512", "needs avx512, this machine runs avx2"
};

// A linear layer ready to run.
struct PackedWeight {
  std::vector<Segment> segments;
  // Distinct forms of x that the segments read; q,k,v with equal demands cost one preparation.
  struct Input {
    std::vector<Transform> transforms;
    ActivationSpec act;
    XForm form = XForm::kF32;
    bool plain() const { return transforms.empty() && act.grain == ActivationSpec::kNone; }
    std::vector<std::shared_ptr<const void>> keep;
  };
  std::vector<Input> inputs;
  // Parts whose result is transformed (rotated, scaled) or gets a low-rank term before the bias is added: columns [n_begin, n_begin
  // + n) of y.
  struct Output {
    int64_t n_begin = 0, n = 0;
    std::vector<Transform> transforms;
    std::vector<float> bias;  // [n] or empty
    // y += (x a^T) b^T with x after the transforms of `input` and before its quantization; [k][rank] and [rank][n], empty: no term.
    std::vector<float> lora_a, lora_b;
    int64_t rank = 0;
    int input = 0;
    ActivationSpec act;  // of this part of y, when all is done
    std::vector<std::shared_ptr<const void>> keep;
  };
  std::vector<Output> outputs;
  std::vector<Refusal> refused;
  int64_t n = 0, k = 0;
  int64_t packed_bytes = 0;  // anonymous or cache-mapped memory of all segments
  std::vector<std::shared_ptr<const void>> keep;

  int64_t strips() const;
};

// Chooses layout and kernels for every part and packs nothing: no segment has data, packed_bytes is 0. What explain shows.
Result<PackedWeight> ChooseLinear(const LinearProblem& problem, const Machine& machine);
// Chooses layout and kernels for every part, packs on the team. Errors: corrupt values found while packing.
Result<PackedWeight> PrepareLinear(const LinearProblem& problem, const Machine& machine, ThreadTeam& team);

// Some strips of y = x W^T + bias, counted through all segments; of the segments that read PackedWeight::inputs[input], whose
// prepared rows are `args`.
void RunStrips(const PackedWeight& weight, int input, Range strips, const LinearArgs& args, std::byte* scratch);
// Of all segments; inputs[i] are the rows prepared for PackedWeight::inputs[i].
void RunStrips(const PackedWeight& weight, std::span<const LinearArgs> inputs, Range strips, std::byte* scratch);
// One worker's share of them.
void RunLinear(const PackedWeight& weight, std::span<const LinearArgs> inputs, int worker, int workers, std::byte* scratch);

// y [n] += the low-rank term of `output` for one row x [k], already transformed. scratch is resized.
void AddLowRank(const PackedWeight::Output& output, const float* x, int64_t k, float* y, std::vector<float>* scratch);

const std::vector<const KernelFamily*>& KernelFamilyTable();  // generated: families under kernels/cpu/
const KernelFamily& ReferenceFamily();                        // accepts everything

}  // namespace nibble
