// SPDX-License-Identifier: Apache-2.0
// The rows of the strip64 family.
#include "kernels/cpu/strip64/layout.h"

namespace nibble {
namespace strip64 {

std::span<const KernelRow> Kernels() {
#define NIBBLE_KERNEL(name, layout, isa, m_lo, m_hi, x, cost, run) \
  KernelRow{name, &layout, isa, m_lo, m_hi, cost, x, run},
  static const KernelRow rows[] = {
#include "kernels/cpu/strip64/kernels.inc"
  };
#undef NIBBLE_KERNEL
  return rows;
}

}  // namespace strip64

const KernelFamily* strip64_family() {
  static const LayoutRow* const layouts[] = {&strip64::DotLayout(), &strip64::Layout()};
  static const KernelFamily family = {"strip64", layouts, strip64::Kernels()};
  return &family;
}

}  // namespace nibble
