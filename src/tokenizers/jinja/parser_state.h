// SPDX-License-Identifier: Apache-2.0
// What both halves of the parser (expressions, statements) work on. Private to the parser.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizers/jinja/ast.h"
#include "tokenizers/jinja/lexer.h"
#include "tokenizers/jinja/parser.h"

namespace nibble::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token Next() {
    Token token = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool Is(Token::Type type) const { return current().type == type; }
  bool IsOperator(std::string_view text) const { return Is(Token::Type::kOperator) && current().text == text; }
  bool IsName(std::string_view text) const { return Is(Token::Type::kName) && current().text == text; }
  bool SkipOperator(std::string_view text) { return IsOperator(text) && (Next(), true); }
  bool SkipName(std::string_view text) { return IsName(text) && (Next(), true); }
  Status ExpectOperator(std::string_view text) {
    if (SkipOperator(text)) return {};
    return Bad(fmt::format("expected token '{}', got {}", text, Shown()));
  }
  Status ExpectBlockEnd() {
    if (!Is(Token::Type::kBlockEnd)) return Bad("expected token 'end of statement block', got " + Shown());
    Next();
    return {};
  }
  Result<std::string> ExpectName() {
    if (!Is(Token::Type::kName)) return Bad("expected token 'name', got " + Shown());
    return Next().text;
  }
  tl::unexpected<Error> Bad(const std::string& message) const { return Corrupt("line {}: {}", current().line, message); }
  std::string Shown() const {
    switch (current().type) {
      case Token::Type::kEnd: return "end of template";
      case Token::Type::kBlockEnd: return "end of statement block";
      case Token::Type::kVariableEnd: return "end of print statement";
      default: return fmt::format("'{}'", current().text.substr(0, 40));
    }
  }

  // Nesting of the template's text, which is recursion here and in the evaluator.
  Status Enter() {
    if (++nesting_ <= kMaxNesting) return {};
    return Bad(fmt::format("nested deeper than {}", kMaxNesting));
  }
  void Leave() { --nesting_; }

  int Symbol(const std::string& name) {
    const auto [it, is_new] = numbers_.emplace(name, static_cast<int>(symbols_.size()));
    if (is_new) symbols_.push_back(name);
    return it->second;
  }
  std::vector<std::string> TakeSymbols() { return std::move(symbols_); }

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  std::vector<std::string> symbols_;
  std::unordered_map<std::string, int> numbers_;
};

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& stream) : stream_(stream) {}

  using Parsed = Result<ExpressionPtr>;
  Parsed Conditional(bool with_conditional = true);
  // One expression, or several with commas: then a tuple. An empty one only inside parentheses.
  Parsed Tuple(bool with_conditional, bool in_parentheses);
  // name(arguments) and |filters behind `node`.
  Parsed Postfix(ExpressionPtr node);
  Parsed Filters(ExpressionPtr node);
  // The filter chain of {% filter a|b %} and {% set x | a %}; the innermost input is nullptr.
  Parsed FilterChain();
  Parsed Primary();
  Parsed Unary(bool with_filters = true);

  ExpressionPtr New(ExpressionType type) const;
  // Recomputes the node's depth from its children; an error above the limit.
  Parsed Done(ExpressionPtr node) const;

 private:
  Parsed Or();
  Parsed And();
  Parsed Not();
  Parsed Compare();
  Parsed Chain(Parsed (ExpressionParser::*next)(), std::initializer_list<std::string_view> operators);
  Parsed Sum();
  Parsed Concat();
  Parsed Product();
  Parsed Power();
  Parsed OneFilter(ExpressionPtr node);
  Parsed Test(ExpressionPtr node);
  Parsed Subscript(ExpressionPtr node);
  Parsed SubscriptArgument(ExpressionPtr node);
  Parsed ListLiteral();
  Parsed DictLiteral();
  Status CallArguments(Expression& node);

  TokenStream& stream_;
};

}  // namespace nibble::jinja
