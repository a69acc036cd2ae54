// SPDX-License-Identifier: Apache-2.0
// What is in a checkpoint: the table of its matrices, statistics of one of them, exact decoded copies, and a check of every stored
// value.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/progress.h"
#include "models/matrices.h"

namespace nibble {

struct InspectRow {
  std::string name, kind;      // kind: "linear", "embedding", "lm_head", "expert", "vector", "other"
  std::string method, format;  // "gptq", "int4 g128 asym"
  Shape shape;
  double bits = 0;      // per weight, scales counted
  int64_t bytes = 0;    // as stored, padding of the file not counted
  std::string tied_to;  // the row is the matrix of that name; counts nowhere
  std::string error;    // why the matrix cannot be read; then format and sizes are empty
};

struct InspectReport {
  std::string method, architecture;  // one line about the method; model_type of the config
  bool architecture_known = false;
  std::vector<InspectRow> rows;
  int64_t parameters = 0;
  int64_t tensor_bytes = 0, file_bytes = 0;
  int files = 0;
  double matrix_bits = 0;  // average over all matrices
  double linear_bits = 0;  // ... without embedding and lm_head
};

// Binds every matrix and decodes none. Tensors that belong to none are rows of kind "other".
InspectReport InspectCheckpoint(Checkpoint& checkpoint, const MatrixTable& table);

struct MatrixStatistics {
  std::string name, format;
  int64_t n = 0, k = 0;
  float min = 0, max = 0;  // of the finite values
  double mean = 0, std = 0;
  int64_t zeros = 0, not_finite = 0;
  std::array<int64_t, 32> histogram{};  // equal bins over [min, max]
};
Result<MatrixStatistics> StatisticsOf(const MatrixTable& table, const std::string& name);

// Writes the named matrices, decoded, as f32 [out,in] (vectors [size]) under the names given. Nothing is visible if one name is
// wrong.
Status SaveDequantized(const MatrixTable& table, const std::vector<std::string>& names, const std::string& path,
                       Progress* progress = nullptr);

struct Finding {
  Code code;  // kUnsupported: this build cannot tell; others: the checkpoint is wrong
  std::string file, tensor, message;
};
// Reads every value of every matrix and vector, and of float tensors that belong to none. Empty: all is well. Errors only when
// stopped.
Result<std::vector<Finding>> VerifyCheckpoint(Checkpoint& checkpoint, const MatrixTable& table, Progress* progress = nullptr);

}  // namespace nibble
