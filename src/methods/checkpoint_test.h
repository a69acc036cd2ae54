// SPDX-License-Identifier: Apache-2.0
// For tests of methods: reads a checkpoint folder as the engine does (settings, method of each module, bound parameters, decoded
// rows) and compares it with the dequantized weights that the tool itself gave.
#pragma once

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "methods/registry.h"
#include "tensors/scalar.h"
#include "support/paths.h"

namespace nibble::testing {

inline std::vector<float> Decoded(const StoredWeight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.n * weight.k));
  DecodeRows(weight, {0, weight.n}, {0, weight.k}, values.data());
  return values;
}

struct TestCheckpoint {
  SafetensorsFiles files;
  Json model;
  std::unique_ptr<QuantizationConfig> config;

  static TestCheckpoint Open(const std::string& folder) {
    TestCheckpoint checkpoint;
    auto files = OpenSafetensorsFolder(folder);
    EXPECT_TRUE(files) << files.error().ToString();
    auto model = ReadJsonFile(folder + "/config.json");
    EXPECT_TRUE(model) << model.error().ToString();
    if (!files || !model) return checkpoint;
    checkpoint.files = std::move(*files);
    checkpoint.model = std::move(*model);
    auto config = LoadQuantizationConfig(folder, checkpoint.model, &checkpoint.files.tensors, &checkpoint.files.metadata);
    EXPECT_TRUE(config) << config.error().ToString();
    if (config) checkpoint.config = std::move(*config);
    return checkpoint;
  }

  LayerQuery Query(const std::string& name) const {
    LayerQuery query{.kind = LayerKind::kLinear, .name = name};
    if (name == "lm_head") query.kind = LayerKind::kLmHead;
    if (name.ends_with("embed_tokens")) query.kind = LayerKind::kEmbedding;
    query.has = [this, name](std::string_view suffix) { return files.tensors.Find(name + "." + std::string(suffix)) != nullptr; };
    return query;
  }

  // The module as a stored weight [n,k]; null method: unquantized.
  Result<LinearPart> Load(const std::string& name, int64_t n, int64_t k) const {
    NIBBLE_TRY(std::shared_ptr<const LinearMethod> method, config->GetQuantMethod(Query(name)));
    if (!method) {
      NIBBLE_TRY(const auto plain, FindQuantization("unquantized")->from_config(Json(), {}));
      NIBBLE_TRY(method, plain->GetQuantMethod(Query(name)));
    }
    BoundParams params{.name = name, .n = n, .k = k};
    const std::vector<ParamDecl> declared = method->CreateWeights({name, n, k});
    for (const ParamDecl& param : declared) {
      const StoredTensor* tensor = files.tensors.Find(name + "." + std::string(param.suffix));
      if (!tensor && param.required) return Corrupt("{}.{} is missing", name, param.suffix);
      if (!tensor) continue;
      if (std::find(param.dtypes.begin(), param.dtypes.end(), tensor->view.dtype) == param.dtypes.end()) {
        return Corrupt("{}.{} is {}", name, param.suffix, DTypeName(tensor->view.dtype));
      }
      params.params.emplace_back(param.suffix, tensor);
    }
    // Every tensor of the module must be claimed.
    for (const StoredTensor& tensor : files.tensors.tensors()) {
      if (!tensor.name.starts_with(name + ".")) continue;
      const std::string_view suffix = std::string_view(tensor.name).substr(name.size() + 1);
      const auto claims = [&](const auto& param) { return param.suffix == suffix; };
      if (suffix != "bias" && std::none_of(declared.begin(), declared.end(), claims))
        return Corrupt("nobody claims {}", tensor.name);
    }
    return method->MakeWeight(params);
  }
};

// Shape of a module from the model's settings and its name.
inline Shape ModuleShape(const Json& model, const std::string& name) {
  const auto number = [&](const char* key) { return model.value(key, int64_t{0}); };
  const int64_t hidden = number("hidden_size"), inter = number("intermediate_size"), vocabulary = number("vocab_size");
  const Json* head = JsonFind(model, "head_dim");
  const int64_t head_dim = head ? head->get<int64_t>() : hidden / number("num_attention_heads");
  if (name.ends_with("q_proj")) return {number("num_attention_heads") * head_dim, hidden};
  if (name.ends_with("k_proj") || name.ends_with("v_proj")) return {number("num_key_value_heads") * head_dim, hidden};
  if (name.ends_with("o_proj")) return {hidden, number("num_attention_heads") * head_dim};
  if (name.ends_with("down_proj")) return {hidden, inter};
  if (name.ends_with("gate_proj") || name.ends_with("up_proj")) return {inter, hidden};
  return {vocabulary, hidden};
}

// Decodes the first rows of every module in `expected` and compares bits (zeros of either sign are equal).
inline void ExpectDequantizedWeights(const std::string& folder, const std::string& expected_file) {
  const TestCheckpoint checkpoint = TestCheckpoint::Open(folder);
  if (!checkpoint.config) return;
  const auto expected = OpenSafetensors(expected_file);
  ASSERT_TRUE(expected) << expected.error().ToString();
  ASSERT_FALSE(expected->tensors.tensors().empty());
  for (const StoredTensor& tensor : expected->tensors.tensors()) {
    std::string name = tensor.name;
    if (name.ends_with(".weight")) name.resize(name.size() - 7);
    const size_t experts = name.find(".mlp.experts.");
    if (experts != std::string::npos && !checkpoint.files.tensors.Find(name + ".weight_packed")) {
      name.replace(experts, 5, ".block_sparse_moe.");
    }
    SCOPED_TRACE(name);
    const Shape shape = ModuleShape(checkpoint.model, name);
    const auto part = checkpoint.Load(name, shape[0], shape[1]);
    ASSERT_TRUE(part) << part.error().ToString();
    EXPECT_TRUE(VerifyValues(*part->weight));
    const auto as_stored = checkpoint.Load(name, 0, 0);  // nobody knows the shape: inspect
    ASSERT_TRUE(as_stored) << as_stored.error().ToString();
    EXPECT_EQ(Shape({as_stored->weight->n, as_stored->weight->k}).ToString(), shape.ToString());
    const int64_t rows = tensor.shape[0], k = tensor.shape[1];
    ASSERT_LE(rows, shape[0]);
    ASSERT_EQ(k, shape[1]);
    std::vector<float> found(static_cast<size_t>(rows * k));
    DecodeRows(*part->weight, {0, rows}, {0, k}, found.data());
    int64_t wrong = 0, first = -1;
    for (int64_t i = 0; i < rows * k; ++i) {
      const float wanted = LoadScalar(tensor.view.dtype, tensor.view.data, i);
      if (found[static_cast<size_t>(i)] == wanted) continue;
      if (wrong++ == 0) first = i;
    }
    EXPECT_EQ(wrong, 0) << "of " << rows * k << "; first: row " << first / k << " column " << first % k << ": "
                        << (first < 0 ? 0 : found[static_cast<size_t>(first)]) << ", wanted "
                        << (first < 0 ? 0 : LoadScalar(tensor.view.dtype, tensor.view.data, first)) << "; "
                        << Describe(*part->weight);
  }
}

// The shared checkpoints, unpacked once beside the test program (every test is a process of its own); empty when they are not
// there. $NIBBLE_CHECKPOINTS_DIR: an unpacked copy.
inline std::string Checkpoints() {
  static const std::string root = [] {
    if (const char* dir = std::getenv("NIBBLE_CHECKPOINTS_DIR")) return std::string(dir);
    const std::string archive = Shared("data/checkpoints.tar.xz");
    if (archive.empty()) return std::string();
    namespace fs = std::filesystem;
    std::error_code error;
    const fs::path build = fs::read_symlink("/proc/self/exe", error).parent_path();
    const fs::path unpacked = build / fmt::format("checkpoints-{}", fs::file_size(archive, error));
    if (fs::exists(unpacked)) return unpacked.string();
    std::string fresh = (build / "checkpoints-XXXXXX").string();
    if (!mkdtemp(fresh.data())) return std::string();
    const std::string command = fmt::format("tar xf '{}' -C '{}'", archive, fresh);
    if (std::system(command.c_str()) == 0)
      fs::rename(fresh + "/checkpoints", unpacked, error);  // another process may have been faster
    fs::remove_all(fresh, error);
    return fs::exists(unpacked) ? unpacked.string() : std::string();
  }();
  return root;
}

}  // namespace nibble::testing

#define NIBBLE_NEED_CHECKPOINT(variable, name)                                        \
  const std::string variable = ::nibble::testing::Checkpoints() + "/" + (name);       \
  if (::nibble::testing::Checkpoints().empty() || !std::filesystem::exists(variable)) \
  GTEST_SKIP() << "needs the shared checkpoint " << (name)
