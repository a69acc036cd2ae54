// SPDX-License-Identifier: Apache-2.0
// The tree of a template. Chains (a + b + c, elif, and) are one node with many children, so that the depth of the tree is the depth
// of nesting that a person wrote; the parser bounds it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tokenizers/jinja/value.h"

namespace nibble::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class ExpressionType : unsigned char {
  kConstant,    // constant
  kName,        // text, symbol
  kList,        // children
  kTuple,       // children
  kDict,        // children: key, value, key, value ...
  kAttribute,   // children[0] . text
  kItem,        // children[0] [ children[1] ]
  kSlice,       // children[0] [ children[1] : children[2] : children[3] ], nullptr where left out
  kCall,        // children[0] ( children[1...], keywords )
  kFilter,      // children[0] | text ( children[1...], keywords ); children[0] is nullptr inside {% filter %}
  kTest,        // children[0] is text ( children[1...], keywords )
  kNot,         // children[0]
  kNegative,    // children[0]
  kPositive,    // children[0]
  kArithmetic,  // children[0] operators[0] children[1] operators[1] ..., from the left
  kConcat,      // children, joined by ~
  kCompare,     // children[0] operators[0] children[1] ..., each pair must hold
  kAnd,
  kOr,           // children
  kConditional,  // children[1] if children[0] else children[2] (nullptr: undefined)
};

struct Expression {
  ExpressionType type;
  int line = 0;
  int depth = 1;
  int symbol = -1;
  std::string text;
  Value constant = None{};
  std::vector<ExpressionPtr> children;
  std::vector<std::string> operators;
  std::vector<std::pair<std::string, ExpressionPtr>> keywords;
};

struct Statement;
using Block = std::vector<std::unique_ptr<Statement>>;

enum class StatementType : unsigned char {
  kData,      // text
  kPrint,     // expressions[0]
  kIf,        // expressions[i] -> blocks[i]; one block more than expressions: else
  kFor,       // for target in expressions[0] if expressions[1]: blocks[0], else blocks[1]
  kSet,       // target = expressions[0]
  kSetBlock,  // target = blocks[0], through expressions[0] (filters) if given
  kMacro,     // text, symbol, parameters, defaults (expressions), blocks[0]
  kCall,      // call expressions[0] with the block as caller(parameters)
  kFilter,    // blocks[0] through expressions[0]
  kWith,      // targets = expressions, blocks[0]
  kScope,     // blocks[0] (generation, autoescape)
  kBreak,
  kContinue,
};

// What is assigned to: a name, an attribute of a namespace, or a tuple of these.
struct Target {
  int symbol = -1;
  std::string name, attribute;  // attribute empty: a plain name
  std::vector<Target> parts;    // not empty: a tuple
};

struct Statement {
  StatementType type;
  int line = 0;
  int symbol = -1;
  std::string text;
  std::vector<ExpressionPtr> expressions;
  std::vector<Target> targets;
  std::vector<std::pair<std::string, int>> parameters;  // name, symbol
  std::vector<Block> blocks;
};

struct Template {
  Block body;
  std::vector<std::string> symbols;  // names of variables by number
};

}  // namespace nibble::jinja
