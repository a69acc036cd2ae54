// SPDX-License-Identifier: Apache-2.0
// Statements.
#include "tokenizers/jinja/parser.h"

#include "tokenizers/jinja/parser_state.h"

namespace nibble::jinja {
namespace {

using Made = Result<std::unique_ptr<Statement>>;

class StatementParser {
 public:
  explicit StatementParser(std::vector<Token> tokens) : stream_(std::move(tokens)), expressions_(stream_) {}

  Result<Template> Run() {
    Template out;
    NIBBLE_TRY(out.body, Body({}));
    out.symbols = stream_.TakeSymbols();
    return out;
  }

 private:
  std::unique_ptr<Statement> New(StatementType type) const {
    auto statement = std::make_unique<Statement>();
    statement->type = type;
    statement->line = stream_.current().line;
    return statement;
  }

  // Statements up to a tag whose name is one of `ends`, which stays current; to the end of the template when `ends` is empty.
  Result<Block> Body(std::initializer_list<std::string_view> ends) {
    NIBBLE_RETURN_IF_ERROR(stream_.Enter());
    Block block;
    while (!stream_.Is(Token::Type::kEnd)) {
      if (stream_.Is(Token::Type::kData)) {
        auto data = New(StatementType::kData);
        data->text = stream_.Next().text;
        block.push_back(std::move(data));
      } else if (stream_.Is(Token::Type::kVariableBegin)) {
        auto print = New(StatementType::kPrint);
        stream_.Next();
        NIBBLE_TRY(auto value, expressions_.Tuple(true, false));
        print->expressions.push_back(std::move(value));
        if (!stream_.Is(Token::Type::kVariableEnd))
          return stream_.Bad("expected token 'end of print statement', got " + stream_.Shown());
        stream_.Next();
        block.push_back(std::move(print));
      } else {
        stream_.Next();  // {%
        for (const auto end : ends) {
          if (!stream_.IsName(end)) continue;
          stream_.Leave();
          return block;
        }
        NIBBLE_TRY(auto statement, One());
        block.push_back(std::move(statement));
        NIBBLE_RETURN_IF_ERROR(stream_.ExpectBlockEnd());
      }
    }
    if (ends.size() > 0) return stream_.Bad(fmt::format("Unexpected end of template. Looking for '{}'.", *(ends.end() - 1)));
    stream_.Leave();
    return block;
  }

  // The block of a statement from behind its %} to the name of its end tag, which is passed.
  Result<Block> BodyUntil(std::string_view end) {
    NIBBLE_RETURN_IF_ERROR(stream_.ExpectBlockEnd());
    NIBBLE_TRY(auto block, Body({end}));
    stream_.Next();
    return block;
  }

  Made One() {
    NIBBLE_TRY(const std::string name, stream_.ExpectName());
    if (name == "if") return If();
    if (name == "for") return For();
    if (name == "set") return Set();
    if (name == "macro") return Macro();
    if (name == "call") return CallBlock();
    if (name == "filter") return Filter();
    if (name == "with") return With();
    if (name == "generation") return Scope("endgeneration");
    if (name == "autoescape") {
      NIBBLE_TRY(const auto flag, expressions_.Conditional());
      if (flag->type != ExpressionType::kConstant || flag->constant.Truth())
        return Unsupported("line {}: autoescape other than false", flag->line);
      return Scope("endautoescape");
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) return stream_.Bad("'" + name + "' outside of a loop");
      return New(name == "break" ? StatementType::kBreak : StatementType::kContinue);
    }
    if (name == "print") {
      auto print = New(StatementType::kPrint);
      NIBBLE_TRY(auto value, expressions_.Tuple(true, false));
      print->expressions.push_back(std::move(value));
      return print;
    }
    for (const std::string_view other : {"include", "import", "from", "extends", "block", "do", "trans"}) {
      if (name == other)
        return Unsupported("line {}: the statement \"{}\" is not part of chat templates", stream_.current().line, name);
    }
    return stream_.Bad(fmt::format("Encountered unknown tag '{}'.", name));
  }

  Made If() {
    auto node = New(StatementType::kIf);
    while (true) {
      NIBBLE_TRY(auto condition, expressions_.Tuple(false, false));
      node->expressions.push_back(std::move(condition));
      NIBBLE_RETURN_IF_ERROR(stream_.ExpectBlockEnd());
      NIBBLE_TRY(auto block, Body({"elif", "else", "endif"}));
      node->blocks.push_back(std::move(block));
      const std::string next = stream_.Next().text;
      if (next == "elif") continue;
      if (next == "else") {
        NIBBLE_TRY(auto otherwise, BodyUntil("endif"));
        node->blocks.push_back(std::move(otherwise));
      }
      return node;
    }
  }

  // name, or name.attribute when allowed, or a list of names with commas, possibly in parentheses.
  Result<Target> OneTarget(bool with_attribute) {
    Target target;
    if (stream_.SkipOperator("(")) {
      NIBBLE_RETURN_IF_ERROR(stream_.Enter());
      NIBBLE_TRY(target, Targets(false));
      stream_.Leave();
      NIBBLE_RETURN_IF_ERROR(stream_.ExpectOperator(")"));
      return target;
    }
    NIBBLE_TRY(target.name, stream_.ExpectName());
    target.symbol = stream_.Symbol(target.name);
    if (with_attribute && stream_.SkipOperator(".")) {
      NIBBLE_TRY(target.attribute, stream_.ExpectName());
    }
    return target;
  }

  Result<Target> Targets(bool with_attribute) {
    NIBBLE_TRY(Target first, OneTarget(with_attribute));
    if (!stream_.IsOperator(",")) return first;
    Target tuple;
    tuple.parts.push_back(std::move(first));
    while (stream_.SkipOperator(",")) {
      if (stream_.IsName("in") || stream_.IsOperator("=") || stream_.IsOperator(")")) break;
      NIBBLE_TRY(Target next, OneTarget(with_attribute));
      tuple.parts.push_back(std::move(next));
    }
    return tuple;
  }

  Made For() {
    auto node = New(StatementType::kFor);
    NIBBLE_TRY(Target target, Targets(false));
    node->targets.push_back(std::move(target));
    if (!stream_.SkipName("in")) return stream_.Bad("expected 'in', got " + stream_.Shown());
    NIBBLE_TRY(auto items, expressions_.Tuple(false, false));
    node->expressions.push_back(std::move(items));
    if (stream_.SkipName("if")) {
      NIBBLE_TRY(auto condition, expressions_.Conditional());
      node->expressions.push_back(std::move(condition));
    }
    if (stream_.IsName("recursive")) return Unsupported("line {}: recursive loops", node->line);
    NIBBLE_RETURN_IF_ERROR(stream_.ExpectBlockEnd());
    ++loops_;
    NIBBLE_TRY(auto block, Body({"else", "endfor"}));
    --loops_;
    node->blocks.push_back(std::move(block));
    if (stream_.Next().text == "else") {
      NIBBLE_TRY(auto otherwise, BodyUntil("endfor"));
      node->blocks.push_back(std::move(otherwise));
    }
    node->symbol = stream_.Symbol("loop");
    return node;
  }

  Made Set() {
    auto node = New(StatementType::kSet);
    NIBBLE_TRY(Target target, Targets(true));
    node->targets.push_back(std::move(target));
    if (stream_.SkipOperator("=")) {
      NIBBLE_TRY(auto value, expressions_.Tuple(true, false));
      node->expressions.push_back(std::move(value));
      return node;
    }
    node->type = StatementType::kSetBlock;
    if (stream_.SkipOperator("|")) {
      NIBBLE_TRY(auto filters, expressions_.FilterChain());
      node->expressions.push_back(std::move(filters));
    }
    NIBBLE_TRY(auto block, BodyUntil("endset"));
    node->blocks.push_back(std::move(block));
    return node;
  }

  // (a, b=1) of a macro or call block.
  Status Parameters(Statement& node) {
    NIBBLE_RETURN_IF_ERROR(stream_.ExpectOperator("("));
    while (!stream_.IsOperator(")")) {
      if (!node.parameters.empty()) NIBBLE_RETURN_IF_ERROR(stream_.ExpectOperator(","));
      if (stream_.IsOperator(")")) break;
      NIBBLE_TRY(const std::string name, stream_.ExpectName());
      node.parameters.emplace_back(name, stream_.Symbol(name));
      ExpressionPtr fallback;
      if (stream_.SkipOperator("=")) {
        NIBBLE_TRY(fallback, expressions_.Conditional());
      }
      node.expressions.push_back(std::move(fallback));
    }
    stream_.Next();
    return {};
  }

  Result<Block> MacroBody(std::string_view end) {
    const int outer = std::exchange(loops_, 0);  // a macro's break does not reach the loop around it
    NIBBLE_TRY(auto block, BodyUntil(end));
    loops_ = outer;
    return block;
  }

  Made Macro() {
    auto node = New(StatementType::kMacro);
    NIBBLE_TRY(node->text, stream_.ExpectName());
    node->symbol = stream_.Symbol(node->text);
    NIBBLE_RETURN_IF_ERROR(Parameters(*node));
    NIBBLE_TRY(auto block, MacroBody("endmacro"));
    node->blocks.push_back(std::move(block));
    return node;
  }

  Made CallBlock() {
    auto node = New(StatementType::kCall);
    if (stream_.IsOperator("(")) NIBBLE_RETURN_IF_ERROR(Parameters(*node));
    NIBBLE_TRY(auto call, expressions_.Conditional());
    if (call->type != ExpressionType::kCall) return stream_.Bad("expected call");
    node->expressions.push_back(std::move(call));  // behind the defaults
    NIBBLE_TRY(auto block, MacroBody("endcall"));
    node->blocks.push_back(std::move(block));
    return node;
  }

  Made Filter() {
    auto node = New(StatementType::kFilter);
    NIBBLE_TRY(auto filters, expressions_.FilterChain());
    node->expressions.push_back(std::move(filters));
    NIBBLE_TRY(auto block, BodyUntil("endfilter"));
    node->blocks.push_back(std::move(block));
    return node;
  }

  Made With() {
    auto node = New(StatementType::kWith);
    while (!stream_.Is(Token::Type::kBlockEnd)) {
      if (!node->targets.empty()) NIBBLE_RETURN_IF_ERROR(stream_.ExpectOperator(","));
      NIBBLE_TRY(Target target, OneTarget(false));
      NIBBLE_RETURN_IF_ERROR(stream_.ExpectOperator("="));
      NIBBLE_TRY(auto value, expressions_.Conditional());
      node->targets.push_back(std::move(target));
      node->expressions.push_back(std::move(value));
    }
    NIBBLE_TRY(auto block, BodyUntil("endwith"));
    node->blocks.push_back(std::move(block));
    return node;
  }

  Made Scope(std::string_view end) {
    auto node = New(StatementType::kScope);
    NIBBLE_TRY(auto block, BodyUntil(end));
    node->blocks.push_back(std::move(block));
    return node;
  }

  TokenStream stream_;
  ExpressionParser expressions_;
  int loops_ = 0;
};

}  // namespace

Result<Template> ParseTemplate(std::string_view source) {
  if (source.size() > kMaxTemplateBytes) return Corrupt("a template of {} bytes, at most {}", source.size(), kMaxTemplateBytes);
  NIBBLE_TRY(auto tokens, Tokenize(source));
  return StatementParser(std::move(tokens)).Run();
}

}  // namespace nibble::jinja
