// SPDX-License-Identifier: Apache-2.0
// Settings of checkpoints on the hub: every one of a method that this build has must parse, and answer for a layer.
#include <gtest/gtest.h>

#include <filesystem>

#include "methods/registry.h"
#include "support/paths.h"

namespace nibble {
namespace {

// The settings of a config.json (also of its text model), or of hf_quant_config.json; null: none.
Json SettingsOf(const Json& file) {
  if (!file.is_object()) return Json();
  for (const Json* place : {&file, JsonFind(file, "text_config")}) {
    if (!place || !place->is_object()) continue;
    for (const char* key : {"quantization_config", "compression_config"})
      if (const Json* found = JsonFind(*place, key)) return *found;
  }
  if (!JsonFind(file, "quantization") || !JsonFind(file, "producer")) return Json();
  Json settings = file;
  settings["quant_method"] = "modelopt";
  return settings;
}

TEST(PublishedConfigs, Parse) {
  NIBBLE_NEED_SHARED(folder, "data/configs");
  int parsed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path().filename().string());
    const auto file = ReadJsonFile(entry.path().string());
    if (!file) continue;
    const Json settings = SettingsOf(*file);
    if (!settings.is_object() || !settings.contains("quant_method") || !settings["quant_method"].is_string()) continue;
    const QuantizationEntry* method = FindQuantization(settings["quant_method"].get<std::string>());
    if (!method) continue;
    const auto config = method->from_config(settings, {entry.path().filename().string(), &*file});
    ASSERT_TRUE(config) << config.error().ToString();
    const auto layer = (*config)->GetQuantMethod({.name = "model.layers.3.mlp.down_proj"});
    EXPECT_TRUE(layer) << layer.error().ToString();
    EXPECT_LT((*config)->EstimateBits({.name = "model.layers.3.mlp.down_proj"}), 17);
    ++parsed;
  }
  EXPECT_GT(parsed, 50);
}

}  // namespace
}  // namespace nibble
