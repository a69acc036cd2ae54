// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/decoder.h"

#include <algorithm>
#include <functional>

#include "tokenizers/byte_level.h"
#include "tokenizers/pattern.h"
#include "tokenizers/unicode.h"

namespace nibble {
namespace {

constexpr size_t kMaxDecoders = 64;
constexpr size_t kMaxPieceBytes = size_t{64} << 20;

using Pieces = std::vector<std::string>;
using MadeDecoder = Result<std::unique_ptr<TokenDecoder>>;

// A decoder that is one function.
class DecoderStep : public TokenDecoder {
 public:
  using Function = std::function<Status(Pieces&)>;
  explicit DecoderStep(Function function) : function_(std::move(function)) {}
  Status Apply(Pieces& pieces) const override { return function_(pieces); }

 private:
  Function function_;
};

MadeDecoder MakeDecoderStep(DecoderStep::Function function) { return std::make_unique<DecoderStep>(std::move(function)); }

class SequenceDecoder : public TokenDecoder {
 public:
  explicit SequenceDecoder(std::vector<std::unique_ptr<TokenDecoder>> steps) : steps_(std::move(steps)) {}
  Status Apply(Pieces& pieces) const override {
    for (const auto& step : steps_) NIBBLE_RETURN_IF_ERROR(step->Apply(pieces));
    return {};
  }

 private:
  std::vector<std::unique_ptr<TokenDecoder>> steps_;
};

std::string JoinPieces(const Pieces& pieces) {
  std::string out;
  for (const auto& piece : pieces) out += piece;
  return out;
}

Status DecodeByteLevel(Pieces& pieces) {
  std::string bytes;
  for (const auto& piece : pieces) AppendBytesOf(piece, bytes);
  pieces.assign(1, unicode::Sanitize(bytes));
  return {};
}

// The byte of "<0x41>", or -1.
int ByteOf(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

// A run of byte tokens that is not well-formed as a whole gives one U+FFFD for each byte.
Status ByteFallback(Pieces& pieces) {
  Pieces out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (unicode::IsValid(bytes)) {
      out.push_back(bytes);
    } else {
      for (size_t i = 0; i < bytes.size(); ++i) out.push_back(unicode::ToUtf8(unicode::kReplacement));
    }
    bytes.clear();
  };
  for (auto& piece : pieces) {
    const int byte = ByteOf(piece);
    if (byte >= 0) {
      bytes += static_cast<char>(byte);
      continue;
    }
    flush();
    out.push_back(std::move(piece));
  }
  flush();
  pieces = std::move(out);
  return {};
}

std::string StripCounted(std::string_view piece, std::string_view character, int64_t start, int64_t stop) {
  for (; start > 0 && piece.starts_with(character); --start) piece.remove_prefix(character.size());
  for (; stop > 0 && piece.ends_with(character); --stop) piece.remove_suffix(character.size());
  return std::string(piece);
}

void ReplaceIn(std::string& text, std::string_view from, std::string_view to) {
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, done)) {
    out.append(text, done, at - done).append(to);
    done = at + from.size();
  }
  text = out.append(text, done);
}

// English contractions and punctuation that WordPiece set apart come together again.
void CleanUp(std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) ReplaceIn(text, from, to);
}

MadeDecoder MakeSequenceDecoder(const Json& spec, const std::string& where) {
  const Json* list = JsonFind(spec, "decoders");
  if (!list || !list->is_array()) return Corrupt("{}: Sequence needs the array \"decoders\"", where);
  if (list->size() > kMaxDecoders) return Corrupt("{}: {} decoders, at most {}", where, list->size(), kMaxDecoders);
  std::vector<std::unique_ptr<TokenDecoder>> steps;
  for (const Json& item : *list) {
    NIBBLE_TRY(auto step, ParseDecoder(item, fmt::format("{}[{}]", where, steps.size())));
    steps.push_back(std::move(step));
  }
  return std::make_unique<SequenceDecoder>(std::move(steps));
}

MadeDecoder MakeReplaceDecoder(const Json& spec, const std::string& where) {
  const Json* value = JsonFind(spec, "pattern");
  NIBBLE_TRY(auto parsed, TextPattern::Parse(value ? *value : Json(), where));
  NIBBLE_TRY_IN(where, auto content, JsonString(spec, "content"));
  auto pattern = std::make_shared<const TextPattern>(std::move(parsed));
  return MakeDecoderStep([pattern, content](Pieces& pieces) -> Status {
    for (auto& piece : pieces) {
      NIBBLE_TRY(piece, pattern->ReplaceAll(piece, content));
      if (piece.size() > kMaxPieceBytes) return Fail(Code::kResourceExhausted, "a decoded token is over {} bytes", kMaxPieceBytes);
    }
    return {};
  });
}

MadeDecoder MakeStrip(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const auto content, JsonString(spec, "content", " "));
  NIBBLE_TRY_IN(where, const int64_t start, JsonInt(spec, "start", 0));
  NIBBLE_TRY_IN(where, const int64_t stop, JsonInt(spec, "stop", 0));
  if (unicode::Length(content) != 1) return Corrupt("{}: content \"{}\" is not one character", where, content);
  return MakeDecoderStep([content, start, stop](Pieces& pieces) -> Status {
    for (auto& piece : pieces) piece = StripCounted(piece, content, start, stop);
    return {};
  });
}

MadeDecoder MakeMetaspaceDecoder(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const auto replacement, JsonString(spec, "replacement", "\u2581"));
  NIBBLE_TRY_IN(where, const bool add_prefix_space, JsonBool(spec, "add_prefix_space", true));
  NIBBLE_TRY_IN(where, const auto scheme, JsonString(spec, "prepend_scheme", add_prefix_space ? "always" : "never"));
  if (replacement.empty()) return Corrupt("{}: replacement is empty", where);
  return MakeDecoderStep([replacement, drop = scheme != "never"](Pieces& pieces) -> Status {
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (i == 0 && drop && pieces[i].starts_with(replacement)) pieces[i].erase(0, replacement.size());
      ReplaceIn(pieces[i], replacement, " ");
    }
    return {};
  });
}

MadeDecoder MakeWordPiece(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const auto prefix, JsonString(spec, "prefix", "##"));
  NIBBLE_TRY_IN(where, const bool cleanup, JsonBool(spec, "cleanup", true));
  return MakeDecoderStep([prefix, cleanup](Pieces& pieces) -> Status {
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (i > 0) {
        if (pieces[i].starts_with(prefix)) {
          pieces[i].erase(0, prefix.size());
        } else {
          pieces[i] = std::string(1, ' ').append(pieces[i]);
        }
      }
      if (cleanup) CleanUp(pieces[i]);
    }
    return {};
  });
}

MadeDecoder MakeBpe(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const auto suffix, JsonString(spec, "suffix", "</w>"));
  if (suffix.empty()) return Corrupt("{}: suffix is empty", where);
  return MakeDecoderStep([suffix](Pieces& pieces) -> Status {
    for (size_t i = 0; i < pieces.size(); ++i) ReplaceIn(pieces[i], suffix, i + 1 < pieces.size() ? " " : "");
    return {};
  });
}

// Of equal neighbours one stays; the blank token goes out, and the token between words becomes a space.
MadeDecoder MakeCtc(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const auto blank, JsonString(spec, "pad_token", "<pad>"));
  NIBBLE_TRY_IN(where, const auto delimiter, JsonString(spec, "word_delimiter_token", "|"));
  NIBBLE_TRY_IN(where, const bool cleanup, JsonBool(spec, "cleanup", true));
  if (blank.empty() || delimiter.empty()) return Corrupt("{}: pad_token or word_delimiter_token is empty", where);
  return MakeDecoderStep([blank, delimiter, cleanup](Pieces& pieces) -> Status {
    pieces.erase(std::unique(pieces.begin(), pieces.end()), pieces.end());
    for (auto& piece : pieces) {
      ReplaceIn(piece, blank, "");
      if (!cleanup) continue;
      CleanUp(piece);
      ReplaceIn(piece, delimiter, " ");
    }
    std::erase_if(pieces, [](const std::string& piece) { return piece.empty(); });
    return {};
  });
}

}  // namespace

MadeDecoder ParseDecoder(const Json& spec, const std::string& where) {
  NIBBLE_TRY_IN(where, const std::string type, JsonString(spec, "type"));
  if (type == "Sequence") return MakeSequenceDecoder(spec, where);
  if (type == "ByteLevel") return MakeDecoderStep(DecodeByteLevel);
  if (type == "ByteFallback") return MakeDecoderStep(ByteFallback);
  if (type == "Replace") return MakeReplaceDecoder(spec, where);
  if (type == "Strip") return MakeStrip(spec, where);
  if (type == "Metaspace") return MakeMetaspaceDecoder(spec, where);
  if (type == "WordPiece") return MakeWordPiece(spec, where);
  if (type == "BPEDecoder") return MakeBpe(spec, where);
  if (type == "CTC") return MakeCtc(spec, where);
  if (type == "Fuse") {
    return MakeDecoderStep([](Pieces& pieces) -> Status {
      pieces.assign(1, JoinPieces(pieces));
      return {};
    });
  }
  return Unsupported(
      "{}: decoder \"{}\"; known are Sequence ByteLevel ByteFallback Fuse Strip Replace Metaspace WordPiece BPEDecoder CTC", where,
      type);
}

}  // namespace nibble
