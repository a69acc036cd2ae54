// SPDX-License-Identifier: Apache-2.0
// nibble methods: checkpoint methods and number formats, what reads, runs and makes them here; from the registry and the format
// table.
#include <algorithm>
#include <cstdio>

#include "cli/command.h"
#include "cli/table.h"
#include "eval/explain.h"
#include "methods/online.h"

namespace nibble {
namespace {

struct FormatRow {
  std::string name, summary, kernel;
  bool makes = false;
};

struct MethodRow {
  const QuantizationEntry* entry;
  std::vector<FormatRow> formats;
};

FormatRow RowOf(const Format& format) {
  return {std::string(format.name), std::string(format.summary), KernelForFormat(&format, {.isa = Cpu().isa}),
          format.encode != nullptr};
}

std::vector<MethodRow> Rows() {
  std::vector<MethodRow> rows;
  for (const QuantizationEntry* entry : Quantizations()) {
    MethodRow row{entry, {}};
    for (const std::string_view name : entry->formats) {
      const Format* format = FindFormat(name);
      if (!format) continue;
      row.formats.push_back(RowOf(*format));
      row.formats.back().makes = std::find(entry->makes.begin(), entry->makes.end(), name) != entry->makes.end();
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

const char* YesNo(bool yes) { return yes ? "yes" : "no"; }

void PrintMethods(const std::vector<MethodRow>& rows) {
  TextTable table({"method", "format", "reads", "CPU", "CUDA", "makes", "kernel here"}, "lllllll");
  for (const MethodRow& row : rows) {
    std::string name(row.entry->name);
    for (const FormatRow& f : row.formats) {
      table.Add({name, f.name, "yes", YesNo(!f.kernel.empty()), "no", YesNo(f.makes), f.kernel});
      name.clear();
    }
    if (row.formats.empty()) table.Add({name, "-", "yes", "-", "no", YesNo(!row.entry->makes.empty()), "-"});
  }
  table.Print();
  std::printf("\n");
  TextTable summaries({"method", "quant_method", "what it is"}, "lll");
  for (const MethodRow& row : rows) {
    std::string values;
    for (const std::string_view value : row.entry->quant_methods) values += (values.empty() ? "" : ", ") + std::string(value);
    summaries.Add({std::string(row.entry->name), values, std::string(row.entry->summary)});
  }
  summaries.Print();
  std::printf("\n");
  TextTable formats({"format", "what it is"}, "ll");
  for (const FormatId format : Formats()) formats.Add({std::string(format->name), std::string(format->summary)});
  formats.Print();
  std::printf("\n");
  TextTable online({"--quantization", "bits", "what a float model becomes while it is loaded"}, "lrl");
  for (const OnlineFormat& format : OnlineFormats())
    online.Add({std::string(format.name), fmt::format("{:.2f}", OnlineBits(format, 4096)), std::string(format.summary)});
  online.Print();
  std::printf("\nCUDA: this build has no CUDA kernels. Kernels are those of %s (%s).\n", Cpu().name.c_str(), IsaName(Cpu().isa));
}

OrderedJson FormatJson(const FormatRow& f) {
  return {{"name", f.name}, {"summary", f.summary}, {"reads", true},     {"cpu", !f.kernel.empty()},
          {"cuda", false},  {"makes", f.makes},     {"kernel", f.kernel}};
}

void PrintMethodsJson(const std::vector<MethodRow>& rows) {
  OrderedJson methods = OrderedJson::array(), formats = OrderedJson::array();
  for (const MethodRow& row : rows) {
    OrderedJson list = OrderedJson::array();
    for (const FormatRow& f : row.formats) list.push_back(FormatJson(f));
    methods.push_back({{"name", row.entry->name},
                       {"quant_methods", row.entry->quant_methods},
                       {"summary", row.entry->summary},
                       {"makes", row.entry->makes},
                       {"checked_against", row.entry->checked},
                       {"formats", list}});
  }
  for (const FormatId format : Formats()) formats.push_back(FormatJson(RowOf(*format)));
  OrderedJson online = OrderedJson::array();
  for (const OnlineFormat& format : OnlineFormats())
    online.push_back({{"name", format.name}, {"summary", format.summary}, {"bits_per_weight", OnlineBits(format, 4096)}});
  const OrderedJson all = {
      {"isa", IsaName(Cpu().isa)}, {"cuda", false}, {"methods", methods}, {"formats", formats}, {"online", online}};
  std::printf("%s\n", all.dump().c_str());
}

std::string Joined(const std::vector<std::string_view>& list) {
  std::string all;
  for (const std::string_view each : list) all.append(all.empty() ? "" : ", ").append(each);
  return all;
}

// "fast" when every format of the method has a kernel of its own there, "reference" when the definition runs.
std::string RunsOn(const QuantizationEntry& entry, Isa isa) {
  size_t fast = 0, known = 0;
  for (const std::string_view name : entry.formats) {
    const Format* format = FindFormat(name);
    if (!format) continue;
    ++known;
    fast += !KernelForFormat(format, {.isa = isa}).starts_with("ref");
  }
  return fast == 0 ? "reference" : fast == known ? "fast" : fmt::format("fast {} of {}", fast, known);
}

// The columns are the kernels that the code has, not what this machine could run.
struct Hardware {
  const char* name;
  Isa isa;
};
constexpr Hardware kHardware[] = {
    {"x86-64", Isa::kScalar}, {"AVX2", Isa::kAvx2}, {"AVX-512", Isa::kAvx512}, {"VNNI", Isa::kAvx512Vnni}, {"AMX", Isa::kAmx}};

void PrintHardware() {
  std::vector<std::string> header = {"method"};
  for (const Hardware& hardware : kHardware) header.emplace_back(hardware.name);
  header.insert(header.end(), {"ARM", "NVIDIA (Volta ... Blackwell)"});
  TextTable table(header, std::string(header.size(), 'l'));
  for (const QuantizationEntry* entry : Quantizations()) {
    std::vector<std::string> row = {std::string(entry->name)};
    for (const Hardware& hardware : kHardware) row.push_back(RunsOn(*entry, hardware.isa));
    row.insert(row.end(), {"reference, untested", "no"});
    table.Add(row);
  }
  table.Print();
  std::printf(
      "\nVNNI has kernels of its own for integer activations; AMX runs those of VNNI. fast 3 of 4: the others of the method's "
      "formats run on the reference kernel.\n");
}

// docs/methods.md: the same on every machine.
void PrintMarkdown() {
  std::printf(
      "# Methods\n\nWritten by `nibble methods --markdown` from the registry; a test compares. CPU: fast kernels are for AVX2 and "
      "AVX-512; reference: decoded row by row and multiplied. CUDA: none yet. Checked against: the tools whose own checkpoints and "
      "results the tests use; where none is named, the published description and its test vectors.\n\n"
      "| method | quant_method | what it is | CPU | makes | checked against |\n|---|---|---|---|---|---|\n");
  for (const QuantizationEntry* entry : Quantizations())
    std::printf("| %s | %s | %s | %s | %s | %s |\n", std::string(entry->name).c_str(), Joined(entry->quant_methods).c_str(),
                std::string(entry->summary).c_str(), RunsOn(*entry, Isa::kAvx2).c_str(), Joined(entry->makes).c_str(),
                Joined(entry->checked).c_str());
  std::printf("\n| format | what it is | encoder |\n|---|---|---|\n");
  for (const FormatId format : Formats())
    std::printf("| %s | %s | %s |\n", std::string(format->name).c_str(), std::string(format->summary).c_str(),
                format->encode ? "yes" : "");
  std::printf("\n| --quantization | bits per weight | what a float model becomes while it is loaded |\n|---|---|---|\n");
  for (const OnlineFormat& format : OnlineFormats())
    std::printf("| %s | %.2f | %s |\n", std::string(format.name).c_str(), OnlineBits(format, 4096),
                std::string(format.summary).c_str());
}

std::function<Status()> SetUpMethods(CLI::App& app) {
  struct MethodsArguments {
    bool json = false, hardware = false, markdown = false;
  };
  auto o = std::make_shared<MethodsArguments>();
  app.add_flag("--hardware", o->hardware, "methods against processors");
  app.add_flag("--markdown", o->markdown, "docs/methods.md");
  app.add_flag("--json", o->json, "one JSON object on stdout");
  return [o]() -> Status {
    if (o->hardware)
      PrintHardware();
    else if (o->markdown)
      PrintMarkdown();
    else
      o->json ? PrintMethodsJson(Rows()) : PrintMethods(Rows());
    return {};
  };
}

}  // namespace

const Command* methods_command() {
  static const Command command = {"methods", "quantization methods and formats: what is read, run and made", "nibble methods", 80,
                                  SetUpMethods};
  return &command;
}

}  // namespace nibble
