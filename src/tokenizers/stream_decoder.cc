// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/stream_decoder.h"

#include <span>

namespace nibble {
namespace {

// A character has at most four bytes, so at most four tokens; a token before it may have given no text yet (a stripped space). What
// still looks incomplete after this many is really U+FFFD.
constexpr size_t kMaxHeld = 12;
constexpr std::string_view kReplacementText = "\uFFFD";

}  // namespace

std::string StreamDecoder::Text(size_t first) const {
  const auto text = tokenizer_.Decode(std::span(ids_).subspan(first), skip_special_);
  return text ? *text : std::string();
}

// Gives out what the held ids add behind the context; they become the context of the next.
std::string StreamDecoder::Take() {
  const std::string all = Text(0);
  std::string fresh = all.size() > context_.size() ? all.substr(context_.size()) : std::string();
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(held_));
  held_ = ids_.size();
  context_ = Text(0);
  return fresh;
}

std::string StreamDecoder::Push(int32_t id) {
  if (!tokenizer_.HasToken(id)) return "";
  if (skip_special_ && tokenizer_.IsSpecial(id)) return "";
  ids_.push_back(id);
  const std::string all = Text(0);
  if (all.size() <= context_.size()) return "";
  if (all.ends_with(kReplacementText) && ids_.size() - held_ < kMaxHeld) return "";
  return Take();
}

std::string StreamDecoder::Flush() {
  std::string rest = ids_.size() > held_ ? Take() : "";
  ids_.clear();
  held_ = 0;
  context_.clear();
  return rest;
}

}  // namespace nibble
