// SPDX-License-Identifier: Apache-2.0
// The registry of checkpoint methods: built-in ones from the generated table, out-of-tree ones by RegisterQuantizationConfig.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/tensor_index.h"
#include "methods/method.h"

namespace nibble {

// What a config parser may look at besides its own JSON.
struct ConfigSource {
  std::string where;              // "model/config.json, quantization_config": for messages
  const Json* model = nullptr;    // the whole config.json, may be null
  std::string file;               // that the JSON was read from, may be empty
  std::vector<std::string> path;  // keys that lead to it inside the file
  // "__metadata__" of the weights' files, where tools keep what a tensor means; may be null.
  const std::map<std::string, std::string>* metadata = nullptr;
  // The tensors, for settings that name some of their own; may be null.
  const TensorIndex* tensors = nullptr;
};

// Keys of the object `key` of the method's JSON in the order of the file, where the first match wins; sorted if there is no file.
Result<std::vector<std::string>> KeyOrder(const Json& json, std::string_view key, const ConfigSource& source);

using QuantizationFactory = Result<std::unique_ptr<QuantizationConfig>> (*)(const Json& quantization_config,
                                                                            const ConfigSource& source);

// What a container that is a whole checkpoint by itself (GGUF) gives: everything in the hub's vocabulary.
struct ContainerContents {
  Json config;          // as config.json would have it
  TensorIndex tensors;  // canonical hub names
  std::unique_ptr<QuantizationConfig> quantization;
};

struct QuantizationEntry {
  std::string_view name;                           // folder name, "gptq"
  std::vector<std::string_view> quant_methods;     // values of quant_method that it reads
  std::vector<std::string_view> config_filenames;  // its own config file beside config.json, or empty
  std::string_view summary;                        // one line of `nibble methods`
  std::vector<std::string_view> formats;           // names of formats/ that its weights become
  std::vector<std::string_view> makes;             // those of them that nibble can write
  std::vector<std::string_view> checked;           // tools and versions that wrote checkpoints it is tested with
  QuantizationFactory from_config = nullptr;
  // Whether these tensors are this method's, for tools that write no settings at all; from_config then gets an empty object.
  bool (*recognizes)(const TensorIndex& tensors) = nullptr;
  // For methods that are a container of their own; null otherwise.
  Result<ContainerContents> (*open_container)(const std::string& path) = nullptr;
};

// Built-in and registered entries, built-in first.
std::vector<const QuantizationEntry*> Quantizations();
// By quant_method value or folder name; null if unknown.
const QuantizationEntry* FindQuantization(std::string_view quant_method);
// Adds a method under a new name; Usage error if the name is taken. Thread-safe.
Status RegisterQuantizationConfig(const std::string& name, QuantizationFactory factory, const std::string& summary = "");

// The nearest known quant_method names, for error messages.
std::string NearestQuantizations(std::string_view quant_method);

// Finds the quantization settings of a hub folder: config.json's quantization_config (its text_config's too), compression_config,
// quantization, then quantize_config.json, quant_config.json, hf_quant_config.json, quanto_qmap.json; without any, the tensors
// (may be null) are asked. Returns the parsed config, or the unquantized one. `model_config` is the parsed config.json.
Result<std::unique_ptr<QuantizationConfig>> LoadQuantizationConfig(const std::string& folder, const Json& model_config,
                                                                   const TensorIndex* tensors = nullptr,
                                                                   const std::map<std::string, std::string>* metadata = nullptr);

// Warns (error when strict) about keys of `object` that are in neither list.
Status CheckKeys(const Json& object, const std::string& where, std::initializer_list<std::string_view> known,
                 std::initializer_list<std::string_view> ignored);
// --strict: unknown keys are errors.
void SetStrictConfigs(bool strict);

}  // namespace nibble
