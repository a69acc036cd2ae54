// SPDX-License-Identifier: Apache-2.0
// nibble inspect: the table of a checkpoint's matrices, statistics of one, decoded copies, verification.
#include <algorithm>
#include <cstdio>
#include <map>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "eval/inspect.h"

namespace nibble {
namespace {

struct InspectArguments {
  ModelOptions model;
  std::vector<std::string> tensors, dequantize;
  std::string save;
  bool verify = false, summary = false, json = false;
};

std::string Parameters(int64_t count) {
  const auto value = static_cast<double>(count);
  if (count >= 1'000'000'000) return fmt::format("{:.2f} B", value / 1e9);
  if (count >= 1'000'000) return fmt::format("{:.2f} M", value / 1e6);
  return fmt::format("{:.1f} K", value / 1e3);
}

OrderedJson RowJson(const InspectRow& row) {
  OrderedJson shape = OrderedJson::array();
  for (int i = 0; i < row.shape.rank(); ++i) shape.push_back(row.shape[i]);
  OrderedJson json = {{"name", row.name},     {"kind", row.kind}, {"method", row.method},
                      {"format", row.format}, {"shape", shape},   {"bits_per_weight", row.bits},
                      {"bytes", row.bytes}};
  if (!row.tied_to.empty()) json["tied_to"] = row.tied_to;
  if (!row.error.empty()) json["error"] = row.error;
  return json;
}

void PrintInspectJson(const InspectArguments& o, const InspectReport& report) {
  OrderedJson rows = OrderedJson::array(), json;
  for (const InspectRow& row : report.rows) rows.push_back(RowJson(row));
  json["model"] = o.model.model;
  json["architecture"] = report.architecture;
  json["architecture_known"] = report.architecture_known;
  json["method"] = report.method;
  json["parameters"] = report.parameters;
  json["bits_per_weight"] = report.matrix_bits;
  json["linear_bits_per_weight"] = report.linear_bits;
  json["tensor_bytes"] = report.tensor_bytes;
  json["file_bytes"] = report.file_bytes;
  json["files"] = report.files;
  json["tensors"] = std::move(rows);
  std::printf("%s\n", json.dump().c_str());
}

// The number after `mark` becomes "*"; rows that are then equal are one line.
std::string WithoutNumber(const std::string& name, std::string_view mark, std::string* number) {
  const size_t at = name.find(mark);
  if (at == std::string::npos) return name;
  const size_t begin = at + mark.size();
  size_t end = begin;
  while (end < name.size() && name[end] >= '0' && name[end] <= '9') ++end;
  *number = name.substr(begin, end - begin);
  return name.substr(0, begin) + "*" + name.substr(end);
}

void PrintRows(const InspectReport& report) {
  TextTable table({"matrix", "method", "format", "shape", "bits", "bytes"}, "lllrrr");
  for (const InspectRow& row : report.rows) {
    if (!row.error.empty())
      table.Add({row.name, "?", row.error});
    else if (!row.tied_to.empty())
      table.Add({row.name, row.method, row.format, row.shape.ToString(), fmt::format("{:.2f}", row.bits), "(" + row.tied_to + ")"});
    else
      table.Add(
          {row.name, row.method, row.format, row.shape.ToString(), fmt::format("{:.2f}", row.bits), std::to_string(row.bytes)});
  }
  table.Print();
}

void PrintSummary(const InspectReport& report) {
  struct Group {
    int64_t count = 0, bytes = 0;
    std::string first, last;
    const InspectRow* row = nullptr;
  };
  std::vector<std::string> order;
  std::map<std::string, Group> groups;
  for (const InspectRow& row : report.rows) {
    std::string layer, expert;
    const std::string name = WithoutNumber(WithoutNumber(row.name, ".layers.", &layer), ".experts.", &expert);
    const std::string key = fmt::format("{}|{}|{}|{}|{}", name, row.method, row.format, row.shape.ToString(), row.error.empty());
    Group& group = groups[key];
    if (group.count++ == 0) {
      order.push_back(key);
      group.row = &row;
      group.first = layer;
    }
    group.last = layer;
    group.bytes += row.tied_to.empty() ? row.bytes : 0;
  }
  TextTable table({"matrices", "layers", "count", "method", "format", "shape", "bits", "bytes"}, "llrllrrr");
  for (const std::string& key : order) {
    const Group& g = groups[key];
    const std::string name = key.substr(0, key.find('|')), layers = g.first == g.last ? g.first : g.first + "-" + g.last,
                      count = std::to_string(g.count);
    if (!g.row->error.empty()) {
      table.Add({name, layers, count, "?", g.row->error});
      continue;
    }
    table.Add({name, layers, count, g.row->method, g.row->format, g.row->shape.ToString(), fmt::format("{:.2f}", g.row->bits),
               HumanBytes(g.bytes)});
  }
  table.Print();
}

Status List(const InspectArguments& o, Checkpoint& checkpoint, const MatrixTable& table) {
  const InspectReport report = InspectCheckpoint(checkpoint, table);
  if (!report.architecture_known)
    std::fprintf(stderr, "nibble: this build does not run model_type \"%s\"; the list shows what the files hold\n",
                 report.architecture.c_str());
  if (o.json) {
    PrintInspectJson(o, report);
    return {};
  }
  o.summary ? PrintSummary(report) : PrintRows(report);
  std::printf("\narchitecture     %s\nmethod           %s\nparameters       %s (%lld)\n", report.architecture.c_str(),
              report.method.c_str(), Parameters(report.parameters).c_str(), static_cast<long long>(report.parameters));
  std::printf(
      "bits per weight  %.3f over all matrices, %.3f over linear layers\nbytes on disk    %s in %d file%s (tensors %lld bytes)\n",
      report.matrix_bits, report.linear_bits, HumanBytes(report.file_bytes).c_str(), report.files, report.files == 1 ? "" : "s",
      static_cast<long long>(report.tensor_bytes));
  return {};
}

void PrintStatistics(const MatrixStatistics& s) {
  const double count = static_cast<double>(s.n * s.k);
  std::printf("%s  [%lld,%lld]  %s\n", s.name.c_str(), static_cast<long long>(s.n), static_cast<long long>(s.k), s.format.c_str());
  std::printf("min %.6g  max %.6g  mean %.6g  std %.6g  zeros %.2f %%  not finite %lld\n", static_cast<double>(s.min),
              static_cast<double>(s.max), s.mean, s.std, count > 0 ? 100 * static_cast<double>(s.zeros) / count : 0,
              static_cast<long long>(s.not_finite));
  const int64_t most = std::max<int64_t>(1, *std::max_element(s.histogram.begin(), s.histogram.end()));
  const double width = (static_cast<double>(s.max) - static_cast<double>(s.min)) / static_cast<double>(s.histogram.size());
  for (size_t i = 0; i < s.histogram.size(); ++i) {
    const auto length = static_cast<size_t>((s.histogram[i] * 60 + most - 1) / most);
    std::printf("%12.5g | %-60s %lld\n", static_cast<double>(s.min) + (static_cast<double>(i) + 0.5) * width,
                std::string(length, '#').c_str(), static_cast<long long>(s.histogram[i]));
  }
}

Status Statistics(const InspectArguments& o, const MatrixTable& table) {
  OrderedJson all = OrderedJson::array();
  for (const std::string& name : o.tensors) {
    NIBBLE_TRY(const MatrixStatistics s, StatisticsOf(table, name));
    if (!o.json) {
      PrintStatistics(s);
      continue;
    }
    all.push_back({{"name", s.name},
                   {"format", s.format},
                   {"shape", {s.n, s.k}},
                   {"min", s.min},
                   {"max", s.max},
                   {"mean", s.mean},
                   {"std", s.std},
                   {"zeros", s.zeros},
                   {"not_finite", s.not_finite},
                   {"histogram", s.histogram}});
  }
  if (o.json) std::printf("%s\n", all.dump().c_str());
  return {};
}

Status Verify(const InspectArguments& o, Checkpoint& checkpoint, const MatrixTable& table) {
  const auto bar = MakeProgressBar();
  NIBBLE_TRY(const std::vector<Finding> findings, VerifyCheckpoint(checkpoint, table, bar.get()));
  EndProgressLine();
  if (o.json) {
    OrderedJson list = OrderedJson::array();
    for (const Finding& f : findings) list.push_back({{"file", f.file}, {"tensor", f.tensor}, {"message", f.message}});
    std::printf("%s\n", OrderedJson{{"model", o.model.model}, {"checked", table.all().size()}, {"findings", list}}.dump().c_str());
  } else {
    for (const Finding& f : findings) std::printf("%s\n", f.message.c_str());
    if (findings.empty()) std::printf("%zu matrices and vectors verified: all values are sound\n", table.all().size());
  }
  if (findings.empty()) return {};
  const auto wrong = std::count_if(findings.begin(), findings.end(), [](const Finding& f) { return f.code != Code::kUnsupported; });
  if (wrong == 0)
    return Unsupported("{}: {} of {} matrices and vectors are of a kind that this build does not read; the others are sound",
                       checkpoint.path(), findings.size(), table.all().size());
  return Fail(Code::kCheckFailed, "{}: {} of {} matrices and vectors are not sound", checkpoint.path(), wrong, table.all().size());
}

Status RunInspect(const InspectArguments& o) {
  if (o.dequantize.empty() != o.save.empty()) return Usage("--dequantize NAME and --save OUT.safetensors go together");
  NIBBLE_TRY(const auto checkpoint, OpenCheckpoint(o.model));
  NIBBLE_TRY(const MatrixTable table, MatrixTable::Of(*checkpoint, MakeLoadOptions(o.model)));
  if (!o.dequantize.empty()) {
    const auto bar = MakeProgressBar();
    return SaveDequantized(table, o.dequantize, o.save, bar.get());
  }
  if (!o.tensors.empty()) return Statistics(o, table);
  if (o.verify) return Verify(o, *checkpoint, table);
  return List(o, *checkpoint, table);
}

std::function<Status()> SetUpInspect(CLI::App& app) {
  auto o = std::make_shared<InspectArguments>();
  AddModelArgument(app, o->model);
  app.add_option("--tensor", o->tensors, "range and histogram of this matrix or vector, decoded (may be repeated)")
      ->allow_extra_args(false);
  app.add_option("--dequantize", o->dequantize, "write this matrix, decoded, as f32 (may be repeated)")->allow_extra_args(false);
  app.add_option("--save", o->save, "safetensors file for --dequantize");
  app.add_flag("--verify", o->verify,
               "read every value: NaN and Inf, codes and maps out of range; exit code 1 if anything is wrong");
  app.add_flag("--summary", o->summary, "one line for equal matrices of all layers and experts");
  app.add_option("--architecture-as", o->model.architecture_as, "treat the model as this model_type");
  app.add_flag("--strict", o->model.strict, "unknown keys in quantization configs are errors");
  app.add_flag("--json", o->json, "JSON on stdout");
  return [o] { return RunInspect(*o); };
}

}  // namespace

const Command* inspect_command() {
  static const Command command = {"inspect", "what is in a checkpoint: matrices, formats, bits, histograms, verification",
                                  "nibble inspect MODEL --tensor model.layers.0.mlp.down_proj", 50, SetUpInspect};
  return &command;
}

}  // namespace nibble
