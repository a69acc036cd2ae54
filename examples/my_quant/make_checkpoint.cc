// SPDX-License-Identifier: Apache-2.0
// A program that links nibble: rewrites a float hub folder as my_quant. make_checkpoint SOURCE OUT
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "io/json.h"
#include "io/safetensors.h"
#include "io/safetensors_writer.h"
#include "tensors/scalar.h"

using namespace nibble;

namespace {

bool IsLinear(const StoredTensor& tensor) { return tensor.shape.rank() == 2 && tensor.name.ends_with("_proj.weight"); }

// Codes by the row's mean |w|, five trits a byte.
float EncodeRow(const float* w, int64_t k, uint8_t* bytes) {
  float sum = 0;
  for (int64_t i = 0; i < k; ++i) sum += std::fabs(w[i]);
  const float scale = std::max(sum / static_cast<float>(k), 1e-9f);
  for (int64_t begin = 0; begin < k; begin += 5) {
    int byte = 0;
    for (int64_t i = std::min(begin + 5, k); i-- > begin;)
      byte = 3 * byte + 1 + static_cast<int>(std::clamp(std::round(w[i] / scale), -1.0f, 1.0f));
    *bytes++ = static_cast<uint8_t>(byte);
  }
  return scale;
}

Status Make(const std::string& source, const std::string& out) {
  NIBBLE_TRY(const SafetensorsFiles files, OpenSafetensorsFolder(source));
  NIBBLE_TRY(Json config, ReadJsonFile(source + "/config.json"));
  std::vector<SafetensorsDeclaration> declared;
  for (const StoredTensor& tensor : files.tensors.tensors()) {
    const std::string module = tensor.name.substr(0, tensor.name.size() - std::string("weight").size());
    if (!IsLinear(tensor)) {
      declared.push_back({tensor.name, tensor.view.dtype, tensor.shape});
      continue;
    }
    declared.push_back({module + "weight_trits", DType::kU8, {tensor.shape[0], CeilDiv(tensor.shape[1], 5)}});
    declared.push_back({module + "weight_scale", DType::kF32, {tensor.shape[0]}});
  }
  std::filesystem::create_directories(out);
  NIBBLE_TRY(SafetensorsWriter writer, SafetensorsWriter::CreateFolder(out, declared));
  for (const StoredTensor& tensor : files.tensors.tensors()) {
    if (!IsLinear(tensor)) {
      NIBBLE_RETURN_IF_ERROR(writer.Write(tensor.name, {tensor.view.data, static_cast<size_t>(tensor.size_bytes)}));
      continue;
    }
    const int64_t n = tensor.shape[0], k = tensor.shape[1];
    std::vector<float> w(static_cast<size_t>(n * k)), scales(static_cast<size_t>(n));
    std::vector<uint8_t> trits(static_cast<size_t>(n * CeilDiv(k, 5)));
    ConvertToF32(tensor.view.dtype, tensor.view.data, n * k, w.data());
    for (int64_t row = 0; row < n; ++row)
      scales[static_cast<size_t>(row)] = EncodeRow(w.data() + row * k, k, trits.data() + row * CeilDiv(k, 5));
    NIBBLE_RETURN_IF_ERROR(writer.Write(tensor.name + "_trits", std::as_bytes(std::span(trits))));
    NIBBLE_RETURN_IF_ERROR(writer.Write(tensor.name + "_scale", std::as_bytes(std::span(scales))));
  }
  NIBBLE_RETURN_IF_ERROR(writer.Commit());
  config["quantization_config"] = {{"quant_method", "my_quant"}};
  std::ofstream(out + "/config.json") << config.dump(2);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: make_checkpoint SOURCE OUT\n"), 2;
  const Status done = Make(argv[1], argv[2]);
  if (!done) std::fprintf(stderr, "%s\n", done.error().ToString().c_str());
  return done ? 0 : ExitCode(done.error().code);
}
