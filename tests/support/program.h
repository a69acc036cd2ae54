// SPDX-License-Identifier: Apache-2.0
// For tests of the program: running it as a user does, and making models that are wrong in one way.
#pragma once

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "io/json.h"
#include "io/safetensors.h"
#include "io/safetensors_writer.h"
#include "support/paths.h"

namespace nibble::testing {

struct ProgramResult {
  int exit_code = -1;  // 1000 + number for a signal
  std::string output;  // stdout and stderr
};

// `arguments` is shell text.
inline ProgramResult RunProgram(const std::string& arguments, const std::string& environment = "") {
  ProgramResult result;
  const std::string command = fmt::format("{} '{}' {} 2>&1 </dev/null", environment, NIBBLE_PROGRAM, arguments);
  FILE* pipe = popen(command.c_str(), "r");
  EXPECT_TRUE(pipe);
  if (!pipe) return result;
  char buffer[4096];
  for (size_t got = 0; (got = fread(buffer, 1, sizeof buffer, pipe)) > 0;) result.output.append(buffer, got);
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  if (result.exit_code > 128 && result.exit_code != 130) result.exit_code += 1000 - 128;  // the shell's form of a signal
  return result;
}

// A hub folder in memory: change a part, write it somewhere.
struct EditableModel {
  struct Tensor {
    DType dtype = DType::kNone;
    Shape shape;
    std::string bytes;
  };
  Json config;
  std::map<std::string, Tensor> tensors;
  std::string from;

  static EditableModel Read(const std::string& folder) {
    EditableModel model;
    model.from = folder;
    auto config = ReadJsonFile(folder + "/config.json");
    auto files = OpenSafetensorsFolder(folder);
    EXPECT_TRUE(config && files);
    if (!config || !files) return model;
    model.config = std::move(*config);
    for (const StoredTensor& tensor : files->tensors.tensors())
      model.tensors[tensor.name] = {
          tensor.view.dtype, tensor.view.shape,
          std::string(reinterpret_cast<const char*>(tensor.view.data), static_cast<size_t>(tensor.size_bytes))};
    return model;
  }

  // Other files of the source folder (tokenizer) are copied.
  void Write(const std::string& folder) const {
    namespace fs = std::filesystem;
    fs::create_directories(folder);
    for (const auto& entry : fs::directory_iterator(from)) {
      const std::string name = entry.path().filename().string();
      if (entry.is_regular_file() && name != "config.json" && name.find(".safetensors") == std::string::npos)
        fs::copy_file(entry.path(), folder + "/" + name);
    }
    std::ofstream(folder + "/config.json") << config.dump(1);
    std::vector<SafetensorsDeclaration> declarations;
    for (const auto& [name, tensor] : tensors) declarations.push_back({name, tensor.dtype, tensor.shape});
    auto writer = SafetensorsWriter::CreateFolder(folder, declarations);
    ASSERT_TRUE(writer) << writer.error().ToString();
    for (const auto& [name, tensor] : tensors) ASSERT_TRUE(writer->Write(name, std::as_bytes(std::span(tensor.bytes))));
    ASSERT_TRUE(writer->Commit());
  }
};

}  // namespace nibble::testing
