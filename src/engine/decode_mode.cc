// SPDX-License-Identifier: Apache-2.0
#include "engine/decode_mode.h"

#include "formats/trellis/trellis.h"

namespace nibble {
namespace {

// The first trellis-coded weight whose values `mode` would change; null: none. found: whether there is any at all.
const StoredWeight* FirstChanged(const Engine& engine, TrellisCode mode, bool* found) {
  for (const BoundLinear& linear : engine.weights().linears) {
    for (const Segment& segment : linear.packed.segments) {
      const auto* trellis = segment.weight ? std::get_if<Trellis>(&segment.weight->body) : nullptr;
      if (!trellis) continue;
      *found = true;
      if (mode != TrellisCode::kLut && static_cast<TrellisCode>(trellis->codebook) != mode) return segment.weight.get();
    }
  }
  return nullptr;
}

}  // namespace

Status SetDecodeMode(const Engine& engine, const std::string& mode, bool force) {
  const auto code = ParseTrellisCode(mode);
  if (!code || *code > TrellisCode::kLut)
    return Usage("decode mode \"{}\" is unknown; known are lut, 1mad, 2mad, 3inst, mcg, mul1", mode);
  bool found = false;
  const StoredWeight* changed = FirstChanged(engine, *code, &found);
  if (!found) return Usage("decode mode \"{}\": this model has no trellis-coded weights", mode);
  if (changed) {
    const auto& trellis = std::get<Trellis>(changed->body);
    const std::string_view stored = TrellisCodeName(static_cast<TrellisCode>(trellis.codebook));
    if (trellis.vec != 1)
      return Usage("decode mode \"{}\" gives one value a window, {} has {} ({})", mode, changed->origin.tensor, trellis.vec,
                   stored);
    if (!force)
      return Usage(
          "decode mode \"{}\" gives other values than {}, with which {} was made; --decode-mode-force takes it nevertheless", mode,
          stored, changed->origin.tensor);
  }
  OverrideTrellisCode(*code == TrellisCode::kLut ? std::nullopt : code);
  return {};
}

}  // namespace nibble
