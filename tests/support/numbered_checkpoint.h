// SPDX-License-Identifier: Apache-2.0
// For tests of names and shapes: checkpoints whose numbers say where they stood.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/safetensors_writer.h"
#include "methods/checkpoint.h"
#include "support/paths.h"

namespace nibble::testing {

// A folder with a config.json and f32 tensors whose element i is i.
inline std::unique_ptr<Checkpoint> MakeNumberedCheckpoint(const TempDir& dir, const std::string& config,
                                                          const std::vector<std::pair<std::string, Shape>>& tensors) {
  std::vector<SafetensorsDeclaration> declarations;
  for (const auto& [name, shape] : tensors) declarations.push_back({name, DType::kF32, shape});
  auto writer = SafetensorsWriter::CreateFile(dir.File("model.safetensors"), declarations);
  EXPECT_TRUE(writer);
  for (const auto& [name, shape] : tensors) {
    std::vector<float> values(static_cast<size_t>(shape.elems()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    EXPECT_TRUE(writer->Write(name, std::as_bytes(std::span(values))));
  }
  EXPECT_TRUE(writer->Commit());
  std::ofstream(dir.File("config.json")) << config;
  auto checkpoint = Checkpoint::Open(dir.path(), CheckpointKind::kHubFolder);
  EXPECT_TRUE(checkpoint) << checkpoint.error().ToString();
  return checkpoint ? std::move(*checkpoint) : nullptr;
}

}  // namespace nibble::testing
