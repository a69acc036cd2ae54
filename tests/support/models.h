// SPDX-License-Identifier: Apache-2.0
// For tests of whole models: opening an engine, reading goldens, collecting logits and greedy tokens, comparing.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "eval/perplexity.h"
#include "io/hub.h"
#include "io/safetensors.h"
#include "tensors/scalar.h"

namespace nibble::testing {

using Tokens = std::vector<int32_t>;

// Two threads and a float cache: what the goldens were computed with.
inline EngineOptions TestOptions() {
  EngineOptions options;
  options.threads = 2;
  options.kv_auto = DType::kF32;
  return options;
}

inline Result<std::unique_ptr<Engine>> OpenModel(const std::string& path, const EngineOptions& options = TestOptions()) {
  NIBBLE_TRY(const ModelLocation location, ResolveModel(path));
  const bool gguf = location.kind == ModelLocation::kGguf;
  NIBBLE_TRY(auto checkpoint, Checkpoint::Open(location.path, gguf ? CheckpointKind::kGguf : CheckpointKind::kHubFolder));
  return Engine::Open(std::move(checkpoint), options);
}

struct Golden {
  std::vector<Tokens> tokens;  // [rows][positions]
  std::vector<float> logits;   // [rows, positions, vocabulary]
  Tokens greedy;               // empty: the file has none
  int64_t vocabulary = 0;
  bool ok() const { return !logits.empty(); }
};

inline Tokens ReadTokenTensor(const StoredTensor& tensor, int64_t begin, int64_t size) {
  Tokens tokens;
  for (int64_t i = begin; i < begin + size; ++i)
    tokens.push_back(static_cast<int32_t>(LoadScalar(tensor.view.dtype, tensor.view.data, i)));
  return tokens;
}

inline Golden ReadGolden(const std::string& path) {
  Golden golden;
  const auto files = OpenSafetensors(path);
  EXPECT_TRUE(files) << files.error().ToString();
  if (!files) return golden;
  const StoredTensor* logits = files->tensors.Find("logits");
  const StoredTensor* tokens = files->tensors.Find("tokens");
  EXPECT_TRUE(logits) << path;
  if (!logits) return golden;
  for (int64_t row = 0; tokens && row < tokens->shape[0]; ++row)
    golden.tokens.push_back(ReadTokenTensor(*tokens, row * tokens->shape[1], tokens->shape[1]));
  golden.vocabulary = logits->shape[2];
  golden.logits.resize(static_cast<size_t>(logits->shape.elems()));
  ConvertToF32(logits->view.dtype, logits->view.data, logits->shape.elems(), golden.logits.data());
  if (const StoredTensor* greedy = files->tensors.Find("greedy"))
    golden.greedy = ReadTokenTensor(*greedy, 0, greedy->shape.elems());
  return golden;
}

// Logits of every position, rows one after the other. All rows are in the engine together.
inline std::vector<float> Logits(Engine& engine, const std::vector<Tokens>& rows) {
  std::vector<int64_t> begin;
  int64_t total = 0, seen = 0;
  for (const Tokens& row : rows) {
    begin.push_back(total);
    total += static_cast<int64_t>(row.size());
  }
  std::vector<float> logits(static_cast<size_t>(total * engine.vocab()));
  const Status done = ForEachLogits(engine, rows, [&](int64_t row, int64_t position, const float* values) {
    ++seen;
    std::copy_n(values, engine.vocab(), logits.data() + (begin[static_cast<size_t>(row)] + position) * engine.vocab());
  });
  EXPECT_TRUE(done) << done.error().ToString();
  EXPECT_EQ(seen, total);
  return logits;
}

inline Engine::Request GreedyRequest(Tokens prompt, int64_t count, Tokens* out) {
  Engine::Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = count;
  request.on_token = [out](int32_t token) {
    out->push_back(token);
    return true;
  };
  return request;
}

// Greedy continuations of all prompts, computed together; end-of-text tokens are ordinary ones.
inline std::vector<Tokens> GreedyAll(Engine& engine, const std::vector<Tokens>& prompts, int64_t count) {
  std::vector<Tokens> out(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto id = engine.Add(GreedyRequest(prompts[i], count, &out[i]));
    EXPECT_TRUE(id) << id.error().ToString();
  }
  const Status done = engine.RunUntilIdle();
  EXPECT_TRUE(done) << done.error().ToString();
  return out;
}
inline Tokens Greedy(Engine& engine, const Tokens& prompt, int64_t count) { return GreedyAll(engine, {prompt}, count)[0]; }

inline float Largest(const std::vector<float>& values) {
  float largest = 0;
  for (const float v : values) largest = std::max(largest, std::fabs(v));
  return largest;
}

// Largest |a - b|; NaN when any is NaN, infinite when the sizes differ.
inline float WorstDifference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  float worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const float difference = std::fabs(a[i] - b[i]);
    if (!(difference <= worst)) worst = difference;
    if (std::isnan(worst)) return worst;
  }
  return worst;
}

// Bits equal, NaN and signs of zero too. The number of elements that differ; sizes must be equal.
inline int64_t DifferentBits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return -1;
  int64_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]);
  return count;
}

// Mean of KL(wanted || got) in nats over rows of logits, in double.
inline double MeanKl(const std::vector<float>& wanted, const std::vector<float>& got, int64_t vocabulary) {
  if (wanted.size() != got.size() || wanted.empty()) return INFINITY;
  const auto log_sum = [&](const float* x) {
    double largest = x[0], sum = 0;
    for (int64_t i = 1; i < vocabulary; ++i) largest = std::max(largest, static_cast<double>(x[i]));
    for (int64_t i = 0; i < vocabulary; ++i) sum += std::exp(static_cast<double>(x[i]) - largest);
    return largest + std::log(sum);
  };
  double total = 0;
  const auto rows = static_cast<int64_t>(wanted.size()) / vocabulary;
  for (int64_t row = 0; row < rows; ++row) {
    const float* p = wanted.data() + row * vocabulary;
    const float* q = got.data() + row * vocabulary;
    const double lp = log_sum(p), lq = log_sum(q);
    for (int64_t i = 0; i < vocabulary; ++i) {
      const double log_p = static_cast<double>(p[i]) - lp;
      total += std::exp(log_p) * (log_p - (static_cast<double>(q[i]) - lq));
    }
  }
  return total / static_cast<double>(rows);
}

// f32 sums in another order than the library that made the goldens: far below what any wrong operation gives.
inline void ExpectClose(const std::vector<float>& got, const std::vector<float>& wanted) {
  EXPECT_LE(WorstDifference(got, wanted), 1e-4f * (1 + Largest(wanted)));
}

}  // namespace nibble::testing
