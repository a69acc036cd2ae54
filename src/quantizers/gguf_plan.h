// SPDX-License-Identifier: Apache-2.0
// Which tensors a GGUF file of a model has, and what of the source stands in each.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "io/gguf_writer.h"
#include "methods/gguf/architecture.h"
#include "quantizers/source_model.h"

namespace nibble {

// ggml's numbers of the types that are written.
inline constexpr int64_t kGgmlF32 = 0, kGgmlF16 = 1, kGgmlQ8 = 8, kGgmlBF16 = 30;

// One tensor of the file: matrices one after another (experts of a layer, parts of a fused tensor), or a vector.
struct PlannedTensor {
  GgufDeclaration declaration;
  std::vector<const SourceModule*> modules;
  std::vector<float> vector;
  GgufName::Rule rule = GgufName::kPlain;
  GgufName::Tiles tiles = GgufName::kNone;
  int64_t permuted_heads = 0;  // > 0: rows of each head go into interleaved rope order
};

class GgufPlan {
 public:
  // Matrices become `type`; the source, model and graph are kept.
  GgufPlan(Checkpoint& source, const SourceModel& model, const Graph& graph, int64_t type)
      : source_(source), model_(model), graph_(graph), type_(type) {}

  // Takes the first row of the model type that has a tensor for everything. Types without a row: as a plain decoder.
  // Whether the model is one is checked on the result.
  Status ChooseArchitecture();

  const GgufArchitecture& architecture() const { return *architecture_; }
  std::vector<PlannedTensor>& tensors() { return tensors_; }
  // Numbers of the layers that are an array of the metadata.
  const std::vector<std::pair<std::string, std::vector<float>>>& layer_numbers() const { return layer_numbers_; }
  // Every matrix that the graph has, part by part.
  const std::map<std::string, SourceModule>& modules() const { return modules_; }
  // The source's weight of a module of the plan; lives as long as the plan.
  Result<const LinearPart*> Bound(const SourceModule* module);

 private:
  Status Plan();
  int64_t TypeFor(const SourceModule& module) const;
  void ListModules();
  const SourceModule* Free(const std::string& name) const;
  void Take(const std::string& name);
  Result<bool> PlanMatrix(const std::string& gguf, const HubName& hub, const std::vector<std::string>& tensors);
  Status PlanLatent(const SourceModule& module, PlannedTensor* planned) const;
  Result<bool> PlanVector(const std::string& gguf, const HubName& hub, const std::vector<std::string>& tensors);
  Shape ShapeOf(const std::string& tensor, int64_t size) const;
  Status PlanLayerNumbers();
  Status CheckAllPlanned() const;

  Checkpoint& source_;
  const SourceModel& model_;
  const Graph& graph_;
  const int64_t type_;
  const GgufArchitecture* architecture_ = nullptr;
  std::vector<PlannedTensor> tensors_;
  std::vector<std::pair<std::string, std::vector<float>>> layer_numbers_;
  std::map<std::string, SourceModule> modules_, fused_;       // by name of the graph
  std::map<std::string, std::vector<std::string>> parts_of_;  // a fused module's
  std::map<std::string, std::pair<int64_t, bool>> vectors_;   // size, and whether it is in the plan
  std::map<std::string, TensorView> biases_;
  std::set<std::string> taken_;
  std::map<const SourceModule*, LinearPart> parts_;
};

// Rows [n, k] of each head into interleaved rope order.
void InterleaveForRope(int64_t heads, int64_t n, int64_t k, std::vector<float>* values);
// Rows into the order that TiledHeads says.
void TileRows(const Json& config, int64_t rows, std::vector<float>* values);

}  // namespace nibble
