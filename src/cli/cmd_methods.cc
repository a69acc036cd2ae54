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
  return {std::string(format.name), std::string(format.summary),
          KernelForFormat(&format, {.isa = Cpu().isa, .threads = Cpu().cores}), format.encode != nullptr};
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

void Print(const std::vector<MethodRow>& rows) {
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

void PrintJson(const std::vector<MethodRow>& rows) {
  OrderedJson methods = OrderedJson::array(), formats = OrderedJson::array();
  for (const MethodRow& row : rows) {
    OrderedJson list = OrderedJson::array();
    for (const FormatRow& f : row.formats) list.push_back(FormatJson(f));
    methods.push_back({{"name", row.entry->name},
                       {"quant_methods", row.entry->quant_methods},
                       {"summary", row.entry->summary},
                       {"makes", row.entry->makes},
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

std::function<Status()> Setup(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  app.add_flag("--json", *json, "one JSON object on stdout");
  return [json]() -> Status {
    const std::vector<MethodRow> rows = Rows();
    *json ? PrintJson(rows) : Print(rows);
    return {};
  };
}

}  // namespace

const Command* methods_command() {
  static const Command command = {"methods", "quantization methods and formats: what is read, run and made", "nibble methods", 80,
                                  Setup};
  return &command;
}

}  // namespace nibble
