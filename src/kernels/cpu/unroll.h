// SPDX-License-Identifier: Apache-2.0
// body(0), ..., body(count - 1) with indices known to the compiler before anything is optimized: arrays of vectors that are indexed
// by them stay in registers, which loops do not guarantee.
#pragma once

#include <utility>

namespace nibble {
namespace {

template <int... I, typename Body>
inline void Unrolled(std::integer_sequence<int, I...>, const Body& body) {
  (body(std::integral_constant<int, I>{}), ...);
}
template <int count, typename Body>
inline void Unroll(const Body& body) {
  Unrolled(std::make_integer_sequence<int, count>{}, body);
}

}  // namespace
}  // namespace nibble
