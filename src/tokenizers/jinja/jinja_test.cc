// SPDX-License-Identifier: Apache-2.0
// The language, construct by construct; expected texts are those of Jinja2 3.1.6.
#include <gtest/gtest.h>

#include <string>

#include "tokenizers/chat_template.h"

namespace nibble {
namespace {

OrderedJson Variables() {
  return {{"x", 5},
          {"s", "Hello World"},
          {"list", {3, 1, 2}},
          {"none", nullptr},
          {"f", 1.5},
          {"d", {{"b", 1}, {"a", "two"}}},
          {"people", {{{"name", "Ann"}, {"age", 30}}, {{"name", "bob"}, {"age", 25}}}}};
}

std::string Render(const std::string& text, const jinja::Limits& limits = {}) {
  const auto chat = ChatTemplate::Parse(text, "t");
  if (!chat) return "PARSE " + chat.error().message;
  RenderOptions options;
  options.now = *ParseTime("2024-07-26");
  options.locate_errors = false;
  options.limits = limits;
  const auto out = chat->Render(Variables(), options);
  return out ? *out : "ERROR " + out.error().message;
}

TEST(Jinja, TrimsAsChatTemplatesExpect) {
  EXPECT_EQ(Render("a\n  {% if x %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
  EXPECT_EQ(Render("a\n  {%- if x -%}\n  b\n{%- endif +%}\nc"), "ab\nc");
  EXPECT_EQ(Render("{# note #}\n  {{ x }}\n"), "  5");
  EXPECT_EQ(Render("a {{- x -}} b"), "a5b");
  EXPECT_EQ(Render("{% raw %}{{ x }}{% endraw %}"), "{{ x }}");
  EXPECT_EQ(Render("{{ {'a': {'b': 1}} }}"), "{'a': {'b': 1}}");
}

TEST(Jinja, Operators) {
  EXPECT_EQ(Render("{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 1 ~ 'a' }}"), "3 -4 2 3.5 1024 1a");
  EXPECT_EQ(Render("{{ 1 < 2 < 3 }} {{ 'a' in s }} {{ 'b' not in d }} {{ not x }} {{ none or 'n' }}"), "True False False False n");
  EXPECT_EQ(Render("{{ 'yes' if x > 3 else 'no' }}{{ 'x' if false }}"), "yes");
  EXPECT_EQ(Render("{{ 1 + 2 * 3 - 4 }} {{ 'a' + 'b' * 2 }} {{ [1] + [2] }}"), "3 abb [1, 2]");
  EXPECT_EQ(Render("{{ s[0] }}{{ s[-1] }} {{ s[1:4] }} {{ s[::-1] }} {{ list[1:] }} {{ list[::-1] }}"),
            "Hd ell dlroW olleH [1, 2] [2, 1, 3]");
  EXPECT_EQ(Render("{{ 9223372036854775807 + 1 }}").substr(0, 5), "ERROR");
}

TEST(Jinja, PrintsAsPython) {
  EXPECT_EQ(Render("{{ [1, 'a', none, true, 1.0, (1,), {'k': \"it's\"}] }}"), "[1, 'a', None, True, 1.0, (1,), {'k': \"it's\"}]");
  EXPECT_EQ(Render("{{ 1e16 }} {{ 0.0001 }} {{ 1e-5 }} {{ 100.0 }}"), "1e+16 0.0001 1e-05 100.0");
  EXPECT_EQ(Render("{{ missing }}|{{ none }}"), "|None");
}

TEST(Jinja, LoopsKeepTheirVariables) {
  EXPECT_EQ(Render("{% for i in list %}{{ loop.index }}:{{ i }}{{ ',' if not loop.last }}{% endfor %}"), "1:3,2:1,3:2");
  EXPECT_EQ(Render("{% set n = 0 %}{% for i in list %}{% set n = i %}{% endfor %}{{ n }}"), "0");
  EXPECT_EQ(Render("{% set ns = namespace(n=0) %}{% for i in list %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}"), "6");
  EXPECT_EQ(Render("{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for q in [] %}{% else %}empty{% endfor %}"),
            "b=1;a=two;empty");
  EXPECT_EQ(Render("{% for i in range(9) if i is odd %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}"), "13");
  EXPECT_EQ(Render("{% for i in list %}{{ loop.previtem }}-{{ loop.nextitem }} {% endfor %}"), "-1 3-2 1- ");
  EXPECT_EQ(Render("{% for i in list %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i > 2) }}{% endfor %}"), "aTruebTrueaFalse");
}

TEST(Jinja, MacrosAndBlocks) {
  EXPECT_EQ(Render("{% macro f(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ f(1) }} {{ f(1, b=3) }}"), "1-2 1-3");
  EXPECT_EQ(Render("{% macro f() %}[{{ caller('x') }}]{% endmacro %}{% call(v) f() %}in {{ v }}{% endcall %}"), "[in x]");
  EXPECT_EQ(Render("{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}"), "3210");
  EXPECT_EQ(Render("{% set t %}a{{ x }}{% endset %}{{ t }}{% set u | upper %}b{% endset %}{{ u }}"), "a5B");
  EXPECT_EQ(Render("{% filter upper %}a{{ x }}{% endfilter %}{% with y = 1 %}{{ y }}{% endwith %}{{ y }}"), "A51");
  EXPECT_EQ(Render("{% generation %}g{% endgeneration %}"), "g");
  EXPECT_EQ(Render("{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}"), "ERROR macro 'f' takes not more than 1 argument(s)");
}

TEST(Jinja, Filters) {
  EXPECT_EQ(Render("{{ d | tojson }} {{ 'é<' | tojson }} {{ 'é' | tojson(ensure_ascii=true) }}"),
            "{\"b\": 1, \"a\": \"two\"} \"é<\" \"\\u00e9\"");
  EXPECT_EQ(Render("{{ d | tojson(indent=2, sort_keys=true) }}"), "{\n  \"a\": \"two\",\n  \"b\": 1\n}");
  EXPECT_EQ(Render("{{ d | tojson(separators=(',', ':')) }}"), "{\"b\":1,\"a\":\"two\"}");
  EXPECT_EQ(Render("{{ ' a ' | trim }}{{ missing | default('d') }}{{ '' | default('e', true) }}{{ list | join('+') }}"),
            "ade3+1+2");
  EXPECT_EQ(Render("{{ people | map(attribute='name') | join(',') }} {{ people | selectattr('age', 'gt', 26) | list | length }}"),
            "Ann,bob 1");
  EXPECT_EQ(Render("{{ people | sort(attribute='age') | map(attribute='name') | list }} {{ list | sort }} {{ list | max }}"),
            "['bob', 'Ann'] [1, 2, 3] 3");
  EXPECT_EQ(Render("{{ d | dictsort }} {{ ['b', 'B', 'a'] | unique | list }} {{ list | reject('eq', 1) | list }}"),
            "[('a', 'two'), ('b', 1)] ['b', 'a'] [3, 2]");
  EXPECT_EQ(Render("{{ 'a\nb' | indent(2) }}|{{ 'a\nb' | indent(2, first=true) }}"), "a\n  b|  a\n  b");
  EXPECT_EQ(
      Render("{{ '42' | int + 1 }} {{ 'x' | int }} {{ 3.7 | int }} {{ '1.5' | float }} {{ -3 | abs }} {{ 2.567 | round(2) }}"),
      "43 0 3 1.5 3 2.57");
  EXPECT_EQ(Render("{{ ('<' | safe) + '>' }}"), "<&gt;");
  EXPECT_EQ(Render("{{ list | first }}{{ list | last }}{{ s | reverse }}{{ list | sum }}"), "32dlroW olleH6");
  EXPECT_EQ(Render("{{ x | nosuch }}"), "ERROR No filter named 'nosuch' found.");
  EXPECT_EQ(Render("{{ none | map('upper') | list }}"), "[]");
  EXPECT_EQ(Render("{% set lazy = x | selectattr('a') %}fine"), "fine");
}

TEST(Jinja, MethodsOfTexts) {
  EXPECT_EQ(Render("{{ 'a b  c'.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }}"),
            "['a', 'b', 'c'] ['a', 'b,c'] ['a,b', 'c']");
  EXPECT_EQ(
      Render("{{ 'xxaxx'.strip('x') }} {{ 'aXb'.lower() }} {{ 'ab'.startswith(('q', 'a')) }} {{ 'abab'.replace('b', 'c', 1) }}"),
      "a axb True acab");
  EXPECT_EQ(Render("{{ 'they are'.title() }} {{ 'abc'.find('c') }} {{ '-'.join(['a', 'b']) }} {{ '{} {n}'.format(1, n=2) }}"),
            "They Are 2 a-b 1 2");
  EXPECT_EQ(Render("{{ 'a'.center(4, '*') }} {{ '7'.zfill(3) }} {{ 'ab'.removeprefix('a') }} {{ 'a=b'.partition('=') }}"),
            "*a** 007 b ('a', '=', 'b')");
  EXPECT_EQ(Render("{{ d.get('q', 'no') }} {{ d.keys() | list }} {{ 'a\n\nb'.splitlines() }}"), "no ['b', 'a'] ['a', '', 'b']");
}

TEST(Jinja, Tests) {
  EXPECT_EQ(
      Render("{{ x is defined }}{{ y is defined }}{{ none is none }}{{ s is string }}{{ d is mapping }}{{ list is sequence }}"),
      "TrueFalseTrueTrueTrueTrue");
  EXPECT_EQ(Render("{{ x is divisibleby 5 }}{{ x is not even }}{{ 1 is in [1] }}{{ f is float }}{{ true is boolean }}"),
            "TrueTrueTrueTrueTrue");
}

TEST(Jinja, ErrorsAreThoseOfPython) {
  EXPECT_EQ(Render("{{ s + 1 }}"), "ERROR can only concatenate str (not \"int\") to str");
  EXPECT_EQ(Render("{{ missing.name }}"), "ERROR 'missing' is undefined");
  EXPECT_EQ(Render("{{ d.q.r }}"), "ERROR 'dict object' has no attribute 'q'");
  EXPECT_EQ(Render("{% for i in none %}{% endfor %}"), "ERROR 'NoneType' object is not iterable");
  EXPECT_EQ(Render("{{ list.append(1) }}"), "ERROR access to attribute 'append' of 'list' object is unsafe.");
  EXPECT_EQ(Render("{{ raise_exception('Stop: ' ~ x) }}"), "ERROR Stop: 5");
  EXPECT_EQ(Render("{{ 1 < 'a' }}"), "ERROR '<' not supported between instances of 'int' and 'str'");
  EXPECT_EQ(Render("{{ 1 > 'a' }}"), "ERROR '>' not supported between instances of 'int' and 'str'");
  EXPECT_EQ(Render("{{ (list | map('string')) | length }}"), "ERROR object of type 'generator' has no len()");
}

TEST(Jinja, SyntaxErrorsNameTheLine) {
  EXPECT_EQ(Render("a\n{% if x %}\n"), "PARSE chat template t: line 2: Unexpected end of template. Looking for 'endif'.");
  EXPECT_EQ(Render("{{ 1 + }}"), "PARSE chat template t: line 1: unexpected end of print statement");
  EXPECT_EQ(Render("{% include 'x' %}").substr(0, 5), "PARSE");
  EXPECT_EQ(Render("{{ 'a }}").substr(0, 5), "PARSE");
  EXPECT_EQ(Render("{# a").substr(0, 5), "PARSE");
}

TEST(Jinja, ErrorsWhileRenderingNameTheLine) {
  const auto chat = ChatTemplate::Parse("a\n\n{{ 1 / 0 }}", "t");
  const auto out = chat->Render(Variables(), {});
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().message, "chat template t, line 3: division by zero");
}

TEST(Jinja, TimeIsGiven) { EXPECT_EQ(Render("{{ strftime_now('%d %b %Y %H:%M') }}"), "26 Jul 2024 12:00"); }

TEST(JinjaLimits, NothingRunsOrGrowsForever) {
  const jinja::Limits small = {.steps = 100'000, .allocated_bytes = 1 << 20, .output_bytes = 10'000, .depth = 200};
  EXPECT_NE(Render("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", small).find("ERROR"),
            std::string::npos);
  EXPECT_NE(Render("{{ 'a' * 999999999 }}", small).find("ERROR"), std::string::npos);
  EXPECT_NE(Render("{% for i in range(9999) %}aaaaaaaaaa{% endfor %}", small).find("over 10000 bytes"), std::string::npos);
  EXPECT_NE(Render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", small).find("recursion"), std::string::npos);
  EXPECT_NE(Render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").find("recursion"), std::string::npos);
  EXPECT_NE(
      Render("{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}", small)
          .find("ERROR"),
      std::string::npos);
  EXPECT_NE(Render("{% set ns = namespace(l=[1]) %}{% for i in range(900) %}{% set ns.l = [ns.l] %}{% endfor %}").find("nested"),
            std::string::npos);
  EXPECT_NE(Render("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns.me }}").find("ERROR"), std::string::npos);
  EXPECT_NE(Render("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}").find("PARSE"), std::string::npos);
  EXPECT_NE(Render("{{ " + std::string(5000, '[') + " }}").find("PARSE"), std::string::npos);
  EXPECT_NE(Render("{{ " + std::string(5000, '-') + "1 }}").find("PARSE"), std::string::npos);
  std::string nested;
  for (int i = 0; i < 5000; ++i) nested += "{% if x %}";
  EXPECT_NE(Render(nested).find("PARSE"), std::string::npos);
}

}  // namespace
}  // namespace nibble
