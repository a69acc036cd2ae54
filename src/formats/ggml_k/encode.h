// SPDX-License-Identifier: Apache-2.0
// The k-quant encoders without importance matrix: 256 elements to one block, equal to ggml's bit for bit (tested on its vectors).
#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble {

void EncodeQ2K(const float* x, std::byte* block);
void EncodeQ3K(const float* x, std::byte* block);
void EncodeQ4K(const float* x, std::byte* block);
void EncodeQ5K(const float* x, std::byte* block);
void EncodeQ6K(const float* x, std::byte* block);

}  // namespace nibble
