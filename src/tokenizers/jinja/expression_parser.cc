// SPDX-License-Identifier: Apache-2.0
// Expressions by recursive descent; the order of the functions is the order of precedence, weakest first.
#include "tokenizers/jinja/parser_state.h"

namespace nibble::jinja {
namespace {

using Type = ExpressionType;
using Parsed = Result<ExpressionPtr>;

}  // namespace

ExpressionPtr ExpressionParser::New(ExpressionType type) const {
  auto node = std::make_unique<Expression>();
  node->type = type;
  node->line = stream_.current().line;
  return node;
}

Parsed ExpressionParser::Done(ExpressionPtr node) const {
  for (const auto& child : node->children) {
    if (child) node->depth = std::max(node->depth, child->depth + 1);
  }
  for (const auto& [name, child] : node->keywords) node->depth = std::max(node->depth, child->depth + 1);
  if (node->depth > kMaxNesting) return stream_.Bad(fmt::format("an expression nested deeper than {}", kMaxNesting));
  return node;
}

Parsed ExpressionParser::Conditional(bool with_conditional) {
  NIBBLE_RETURN_IF_ERROR(stream_.Enter());
  NIBBLE_TRY(auto node, Or());
  while (with_conditional && stream_.IsName("if")) {
    auto choice = New(Type::kConditional);
    stream_.Next();
    NIBBLE_TRY(auto condition, Or());
    ExpressionPtr otherwise;
    if (stream_.SkipName("else")) {
      NIBBLE_TRY(otherwise, Conditional());
    }
    choice->children.push_back(std::move(condition));
    choice->children.push_back(std::move(node));
    choice->children.push_back(std::move(otherwise));
    NIBBLE_TRY(node, Done(std::move(choice)));
  }
  stream_.Leave();
  return node;
}

Parsed ExpressionParser::Or() {
  NIBBLE_TRY(auto node, And());
  if (!stream_.IsName("or")) return node;
  auto chain = New(Type::kOr);
  chain->children.push_back(std::move(node));
  while (stream_.SkipName("or")) {
    NIBBLE_TRY(auto next, And());
    chain->children.push_back(std::move(next));
  }
  return Done(std::move(chain));
}

Parsed ExpressionParser::And() {
  NIBBLE_TRY(auto node, Not());
  if (!stream_.IsName("and")) return node;
  auto chain = New(Type::kAnd);
  chain->children.push_back(std::move(node));
  while (stream_.SkipName("and")) {
    NIBBLE_TRY(auto next, Not());
    chain->children.push_back(std::move(next));
  }
  return Done(std::move(chain));
}

Parsed ExpressionParser::Not() {
  if (!stream_.IsName("not")) return Compare();
  NIBBLE_RETURN_IF_ERROR(stream_.Enter());
  auto node = New(Type::kNot);
  stream_.Next();
  NIBBLE_TRY(auto inner, Not());
  node->children.push_back(std::move(inner));
  stream_.Leave();
  return Done(std::move(node));
}

Parsed ExpressionParser::Compare() {
  NIBBLE_TRY(auto node, Sum());
  ExpressionPtr chain;
  while (true) {
    std::string sign;
    for (const std::string_view text : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (stream_.IsOperator(text)) sign = text;
    }
    if (stream_.IsName("in")) sign = "in";
    if (stream_.IsName("not") && stream_.look().type == Token::Type::kName && stream_.look().text == "in") {
      stream_.Next();
      sign = "not in";
    }
    if (sign.empty()) break;
    if (!chain) {
      chain = New(Type::kCompare);
      chain->children.push_back(std::move(node));
    }
    stream_.Next();
    NIBBLE_TRY(auto next, Sum());
    chain->operators.push_back(std::move(sign));
    chain->children.push_back(std::move(next));
  }
  return chain ? Done(std::move(chain)) : Parsed(std::move(node));
}

Parsed ExpressionParser::Chain(Parsed (ExpressionParser::*next)(), std::initializer_list<std::string_view> operators) {
  NIBBLE_TRY(auto node, (this->*next)());
  ExpressionPtr chain;
  while (stream_.Is(Token::Type::kOperator) &&
         std::find(operators.begin(), operators.end(), stream_.current().text) != operators.end()) {
    if (!chain) {
      chain = New(Type::kArithmetic);
      chain->children.push_back(std::move(node));
    }
    chain->operators.push_back(stream_.Next().text);
    NIBBLE_TRY(auto right, (this->*next)());
    chain->children.push_back(std::move(right));
  }
  return chain ? Done(std::move(chain)) : Parsed(std::move(node));
}

Parsed ExpressionParser::Sum() { return Chain(&ExpressionParser::Concat, {"+", "-"}); }

Parsed ExpressionParser::Concat() {
  NIBBLE_TRY(auto node, Product());
  if (!stream_.IsOperator("~")) return node;
  auto chain = New(Type::kConcat);
  chain->children.push_back(std::move(node));
  while (stream_.SkipOperator("~")) {
    NIBBLE_TRY(auto next, Product());
    chain->children.push_back(std::move(next));
  }
  return Done(std::move(chain));
}

Parsed ExpressionParser::Product() { return Chain(&ExpressionParser::Power, {"*", "/", "//", "%"}); }

Parsed ExpressionParser::Power() {
  NIBBLE_TRY(auto node, Unary());
  while (stream_.IsOperator("**")) {
    auto power = New(Type::kArithmetic);
    power->operators.push_back(stream_.Next().text);
    NIBBLE_TRY(auto right, Unary());
    power->children.push_back(std::move(node));
    power->children.push_back(std::move(right));
    NIBBLE_TRY(node, Done(std::move(power)));
  }
  return node;
}

Parsed ExpressionParser::Unary(bool with_filters) {
  NIBBLE_RETURN_IF_ERROR(stream_.Enter());
  ExpressionPtr node;
  if (stream_.IsOperator("-") || stream_.IsOperator("+")) {
    node = New(stream_.IsOperator("-") ? Type::kNegative : Type::kPositive);
    stream_.Next();
    NIBBLE_TRY(auto inner, Unary(false));
    node->children.push_back(std::move(inner));
    NIBBLE_TRY(node, Done(std::move(node)));
  } else {
    NIBBLE_TRY(node, Primary());
  }
  NIBBLE_TRY(node, Postfix(std::move(node)));
  if (with_filters) {
    NIBBLE_TRY(node, Filters(std::move(node)));
  }
  stream_.Leave();
  return node;
}

Parsed ExpressionParser::Primary() {
  auto node = New(Type::kConstant);
  const Token token = stream_.current();
  switch (token.type) {
    case Token::Type::kInteger: node->constant = Value(token.integer); break;
    case Token::Type::kFloat: node->constant = Value(token.number); break;
    case Token::Type::kString: {
      std::string text;
      while (stream_.Is(Token::Type::kString)) text += stream_.Next().text;  // neighbours are one string
      node->constant = Value(std::move(text));
      return node;
    }
    case Token::Type::kName:
      if (token.text == "true" || token.text == "True" || token.text == "false" || token.text == "False") {
        node->constant = Value(token.text == "true" || token.text == "True");
      } else if (token.text != "none" && token.text != "None") {
        node->type = Type::kName;
        node->text = token.text;
        node->symbol = stream_.Symbol(token.text);
      }
      break;
    default:
      if (stream_.IsOperator("(")) {
        stream_.Next();
        NIBBLE_TRY(node, Tuple(true, true));
        NIBBLE_RETURN_IF_ERROR(stream_.ExpectOperator(")"));
        return node;
      }
      if (stream_.IsOperator("[")) return ListLiteral();
      if (stream_.IsOperator("{")) return DictLiteral();
      return stream_.Bad("unexpected " + stream_.Shown());
  }
  stream_.Next();
  return node;
}

Parsed ExpressionParser::Tuple(bool with_conditional, bool in_parentheses) {
  auto tuple = New(Type::kTuple);
  bool comma = false;
  while (!stream_.IsOperator(")") && !stream_.Is(Token::Type::kBlockEnd) && !stream_.Is(Token::Type::kVariableEnd) &&
         !stream_.IsName("in")) {
    NIBBLE_TRY(auto item, Conditional(with_conditional));
    tuple->children.push_back(std::move(item));
    if (!stream_.SkipOperator(",")) break;
    comma = true;
  }
  if (tuple->children.size() == 1 && !comma) return std::move(tuple->children[0]);
  if (tuple->children.empty() && !in_parentheses) return stream_.Bad("expected an expression, got " + stream_.Shown());
  return Done(std::move(tuple));
}

Parsed ExpressionParser::ListLiteral() {
  auto node = New(Type::kList);
  stream_.Next();
  while (!stream_.IsOperator("]")) {
    if (!node->children.empty()) NIBBLE_RETURN_IF_ERROR(stream_.ExpectOperator(","));
    if (stream_.IsOperator("]")) break;
    NIBBLE_TRY(auto item, Conditional());
    node->children.push_back(std::move(item));
  }
  stream_.Next();
  return Done(std::move(node));
}

Parsed ExpressionParser::DictLiteral() {
  auto node = New(Type::kDict);
  stream_.Next();
  while (!stream_.IsOperator("}")) {
    if (!node->children.empty()) NIBBLE_RETURN_IF_ERROR(stream_.ExpectOperator(","));
    if (stream_.IsOperator("}")) break;
    NIBBLE_TRY(auto key, Conditional());
    NIBBLE_RETURN_IF_ERROR(stream_.ExpectOperator(":"));
    NIBBLE_TRY(auto value, Conditional());
    node->children.push_back(std::move(key));
    node->children.push_back(std::move(value));
  }
  stream_.Next();
  return Done(std::move(node));
}

Parsed ExpressionParser::Postfix(ExpressionPtr node) {
  while (true) {
    if (stream_.IsOperator(".") || stream_.IsOperator("[")) {
      NIBBLE_TRY(node, Subscript(std::move(node)));
    } else if (stream_.IsOperator("(")) {
      auto call = New(Type::kCall);
      call->children.push_back(std::move(node));
      NIBBLE_RETURN_IF_ERROR(CallArguments(*call));
      NIBBLE_TRY(node, Done(std::move(call)));
    } else {
      return node;
    }
  }
}

Parsed ExpressionParser::Subscript(ExpressionPtr node) {
  if (stream_.SkipOperator("[")) return SubscriptArgument(std::move(node));
  stream_.Next();
  auto access = New(Type::kAttribute);
  access->children.push_back(std::move(node));
  if (stream_.Is(Token::Type::kInteger)) {
    access->type = Type::kItem;
    auto index = New(Type::kConstant);
    index->constant = Value(stream_.Next().integer);
    access->children.push_back(std::move(index));
  } else {
    NIBBLE_TRY(access->text, stream_.ExpectName());
  }
  return Done(std::move(access));
}

Parsed ExpressionParser::SubscriptArgument(ExpressionPtr node) {
  auto access = New(Type::kItem);
  access->children.push_back(std::move(node));
  size_t colons = 0;
  std::vector<ExpressionPtr> parts(1);
  while (!stream_.IsOperator("]")) {
    if (stream_.SkipOperator(":")) {
      if (++colons > 2) return stream_.Bad("a slice has at most two colons");
      parts.emplace_back();
    } else if (parts.back()) {
      return stream_.Bad("expected ']', got " + stream_.Shown());
    } else {
      NIBBLE_TRY(parts.back(), Conditional());
    }
  }
  stream_.Next();
  if (colons == 0 && !parts[0]) return stream_.Bad("expected subscript expression");
  if (colons > 0) access->type = Type::kSlice;
  if (colons > 0) parts.resize(3);
  for (auto& part : parts) access->children.push_back(std::move(part));
  return Done(std::move(access));
}

Status ExpressionParser::CallArguments(Expression& node) {
  NIBBLE_RETURN_IF_ERROR(stream_.ExpectOperator("("));
  bool first = true;
  while (!stream_.IsOperator(")")) {
    if (!first) NIBBLE_RETURN_IF_ERROR(stream_.ExpectOperator(","));
    first = false;
    if (stream_.IsOperator(")")) break;
    if (stream_.IsOperator("*") || stream_.IsOperator("**")) {
      return Unsupported("line {}: * and ** arguments", stream_.current().line);
    }
    const bool keyword =
        stream_.Is(Token::Type::kName) && stream_.look().type == Token::Type::kOperator && stream_.look().text == "=";
    if (keyword) {
      std::string name = stream_.Next().text;
      stream_.Next();
      NIBBLE_TRY(auto value, Conditional());
      node.keywords.emplace_back(std::move(name), std::move(value));
    } else {
      if (!node.keywords.empty()) return stream_.Bad("invalid syntax for function call expression");
      NIBBLE_TRY(auto value, Conditional());
      node.children.push_back(std::move(value));
    }
  }
  stream_.Next();
  return {};
}

Parsed ExpressionParser::Filters(ExpressionPtr node) {
  while (true) {
    if (stream_.SkipOperator("|")) {
      NIBBLE_TRY(node, OneFilter(std::move(node)));
    } else if (stream_.SkipName("is")) {
      NIBBLE_TRY(node, Test(std::move(node)));
    } else if (stream_.IsOperator("(")) {
      NIBBLE_TRY(node, Postfix(std::move(node)));
    } else {
      return node;
    }
  }
}

Parsed ExpressionParser::FilterChain() {
  ExpressionPtr node;
  do {
    NIBBLE_TRY(node, OneFilter(std::move(node)));
  } while (stream_.SkipOperator("|"));
  return node;
}

Parsed ExpressionParser::OneFilter(ExpressionPtr input) {
  auto node = New(Type::kFilter);
  node->children.push_back(std::move(input));
  NIBBLE_TRY(node->text, stream_.ExpectName());
  while (stream_.SkipOperator(".")) {
    NIBBLE_TRY(const std::string more, stream_.ExpectName());
    node->text += "." + more;
  }
  if (stream_.IsOperator("(")) NIBBLE_RETURN_IF_ERROR(CallArguments(*node));
  return Done(std::move(node));
}

Parsed ExpressionParser::Test(ExpressionPtr input) {
  const bool negated = stream_.SkipName("not");
  auto node = New(Type::kTest);
  node->children.push_back(std::move(input));
  NIBBLE_TRY(node->text, stream_.ExpectName());
  const Token& token = stream_.current();
  const bool starts_value = token.type == Token::Type::kName || token.type == Token::Type::kString ||
                            token.type == Token::Type::kInteger || token.type == Token::Type::kFloat || stream_.IsOperator("[") ||
                            stream_.IsOperator("{");
  const bool is_keyword = stream_.IsName("else") || stream_.IsName("or") || stream_.IsName("and") || stream_.IsName("is") ||
                          stream_.IsName("if") || stream_.IsName("in") || stream_.IsName("not");
  if (stream_.IsOperator("(")) {
    NIBBLE_RETURN_IF_ERROR(CallArguments(*node));
  } else if (starts_value && !is_keyword) {
    NIBBLE_TRY(auto argument, Primary());
    NIBBLE_TRY(argument, Postfix(std::move(argument)));
    node->children.push_back(std::move(argument));
  }
  NIBBLE_TRY(node, Done(std::move(node)));
  if (!negated) return node;
  auto inverse = New(Type::kNot);
  inverse->children.push_back(std::move(node));
  return Done(std::move(inverse));
}

}  // namespace nibble::jinja
