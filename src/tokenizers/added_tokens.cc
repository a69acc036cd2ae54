// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/added_tokens.h"

#include <algorithm>

#include "tokenizers/unicode.h"

namespace nibble {
namespace {

bool EndsWithWord(std::string_view text) {
  if (text.empty()) return false;
  size_t pos = unicode::Previous(text, text.size());
  return unicode::IsWord(unicode::Next(text, pos));
}

bool StartsWithWord(std::string_view text) {
  size_t pos = 0;
  return !text.empty() && unicode::IsWord(unicode::Next(text, pos));
}

// First byte of the white space that ends at `end`, not before `low`.
size_t SpaceBefore(std::string_view text, size_t low, size_t end) {
  while (end > low) {
    const size_t begin = unicode::Previous(text, end);
    size_t pos = begin;
    if (!unicode::IsSpace(unicode::Next(text, pos))) break;
    end = begin;
  }
  return std::max(end, low);
}

size_t SpaceAfter(std::string_view text, size_t pos) {
  while (pos < text.size()) {
    size_t next = pos;
    if (!unicode::IsSpace(unicode::Next(text, next))) break;
    pos = next;
  }
  return pos;
}

}  // namespace

int32_t AddedTokenFinder::Child(int32_t node, unsigned char byte) const {
  const auto& children = nodes_[static_cast<size_t>(node)].children;
  const auto it =
      std::lower_bound(children.begin(), children.end(), byte, [](const auto& child, unsigned char b) { return child.first < b; });
  return it != children.end() && it->first == byte ? it->second : -1;
}

Result<AddedTokenFinder> AddedTokenFinder::Make(const std::vector<AddedToken>& tokens, const std::string& where) {
  AddedTokenFinder finder;
  finder.tokens_ = tokens;
  finder.nodes_.emplace_back();
  for (size_t index = 0; index < tokens.size(); ++index) {
    const std::string& content = tokens[index].content;
    if (content.empty()) continue;
    if (content.size() > kMaxContentBytes) {
      return Unsupported("{}: added token {} has {} bytes, at most {}", where, tokens[index].id, content.size(), kMaxContentBytes);
    }
    int32_t node = 0;
    for (const char c : content) {
      const auto byte = static_cast<unsigned char>(c);
      int32_t next = finder.Child(node, byte);
      if (next < 0) {
        next = static_cast<int32_t>(finder.nodes_.size());
        finder.nodes_.emplace_back();
        auto& children = finder.nodes_[static_cast<size_t>(node)].children;
        children.insert(std::upper_bound(children.begin(), children.end(), std::pair(byte, next)), {byte, next});
      }
      node = next;
    }
    int32_t& token = finder.nodes_[static_cast<size_t>(node)].token;
    if (token < 0) token = static_cast<int32_t>(index);
  }
  return finder;
}

AddedTokenFinder::Hit AddedTokenFinder::MatchAt(std::string_view text, size_t begin) const {
  Hit hit;
  int32_t node = 0;
  for (size_t pos = begin; pos < text.size(); ++pos) {
    node = Child(node, static_cast<unsigned char>(text[pos]));
    if (node < 0) break;
    if (nodes_[static_cast<size_t>(node)].token >= 0) hit = {nodes_[static_cast<size_t>(node)].token, pos + 1};
  }
  return hit;
}

void AddedTokenFinder::Split(std::string_view text, std::vector<TextPart>& parts) const {
  // Which bytes begin a token: most positions of a text are passed over by this table.
  bool first[256] = {};
  for (const auto& child : nodes_[0].children) first[child.first] = true;
  size_t done = 0;
  for (size_t pos = 0; pos < text.size();) {
    if (!first[static_cast<unsigned char>(text[pos])]) {
      ++pos;
      continue;
    }
    const Hit hit = MatchAt(text, pos);
    if (hit.token < 0) {
      ++pos;
      continue;
    }
    size_t begin = pos, end = hit.end;
    pos = hit.end;
    const AddedToken& token = tokens_[static_cast<size_t>(hit.token)];
    if (token.single_word && (EndsWithWord(text.substr(0, begin)) || StartsWithWord(text.substr(end)))) continue;
    begin = std::max(begin, done);
    if (token.lstrip) begin = SpaceBefore(text, done, begin);
    if (token.rstrip) end = SpaceAfter(text, end);
    if (begin > done) parts.push_back({done, begin, -1});
    if (end > begin) parts.push_back({begin, end, token.id});
    done = std::max(done, end);
  }
  if (done < text.size()) parts.push_back({done, text.size(), -1});
}

}  // namespace nibble
