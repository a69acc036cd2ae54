// SPDX-License-Identifier: Apache-2.0
// Kinds of cache that meet: windows, angles that depend on length, few bits, latents, and too few pages for all. What a sequence
// gives alone, in steps as long as the context, it gives beside others that push it out, in steps of any size.
#include <filesystem>
#include <fstream>
#include <random>

#include "io/json.h"
#include "io/mapped_file.h"
#include "methods/checkpoint_test.h"
#include "support/models.h"
#include "support/paths.h"

namespace nibble {
namespace {

using testing::TestOptions;
using testing::Tokens;

Tokens RandomTokens(int64_t count, uint32_t seed, int32_t vocabulary) {
  std::mt19937 random(seed);
  Tokens tokens;
  while (static_cast<int64_t>(tokens.size()) < count)
    tokens.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary)));
  return tokens;
}

Json LongRope() {
  const std::vector<double> near(32, 1.0), far(32, 4.0);
  return {{"rope_type", "longrope"}, {"short_factor", near}, {"long_factor", far}, {"factor", 4.0}};
}

// tales-1m with other keys in its config: two layers, 64 elements a head.
struct Variant {
  const char* name;
  bool window = false;  // of 40 positions in the first layer
  Json rope = nullptr;  // the first 64 positions are those of training
  const char* kv = "f32";
};
void PrintTo(const Variant& v, std::ostream* out) { *out << v.name; }

class CacheKinds : public ::testing::TestWithParam<Variant> {};

TEST_P(CacheKinds, AmongOthersAndPushedOutAsAlone) {
  const Variant& variant = GetParam();
  const std::string source = testing::Repo("tests/data/models/tales-1m");
  const testing::TempDir dir;
  Json config = *ParseJson(*ReadTextFile(source + "/config.json"), "config.json");
  config["model_type"] = "mistral";
  config["sliding_window"] = 40;
  config["layer_types"] = {variant.window ? "sliding_attention" : "full_attention", "full_attention"};
  if (!variant.rope.is_null()) {
    config["rope_parameters"] = variant.rope;
    config["rope_parameters"]["rope_theta"] = 10000.0;
    config["rope_parameters"]["original_max_position_embeddings"] = 64;
    config["original_max_position_embeddings"] = config["max_position_embeddings"] = 64;
  }
  std::ofstream(dir.path() + "/config.json") << config.dump();
  std::filesystem::create_symlink(source + "/model.safetensors", dir.path() + "/model.safetensors");

  EngineOptions options = TestOptions();
  options.context = 192;
  options.kv_dtype = *ParseKvFormats(variant.kv);
  options.share_prefixes = false;
  auto alone = testing::OpenModel(dir.path(), options);
  ASSERT_TRUE(alone) << alone.error().ToString();
  // Two that begin alike; short ones that outgrow 64 positions, long ones that begin beyond.
  std::vector<Tokens> prompts, wanted;
  for (const int64_t length : {40, 5, 60, 100, 63, 33}) prompts.push_back(RandomTokens(length, static_cast<uint32_t>(length), 512));
  prompts.push_back(prompts[3]);
  prompts.back().back() ^= 1;
  for (const Tokens& prompt : prompts) wanted.push_back(testing::Greedy(**alone, prompt, 60));

  for (const int64_t rows : {1, 8, 33}) {
    for (const bool share : {false, true}) {
      SCOPED_TRACE(fmt::format("steps of {} rows, share {}", rows, share));
      options.batch_rows = rows;
      options.share_prefixes = share;
      options.max_sequences = 2;  // pages for two, seven sequences
      auto tight = testing::OpenModel(dir.path(), options);
      ASSERT_TRUE(tight) << tight.error().ToString();
      EXPECT_EQ(testing::GreedyAll(**tight, prompts, 60), wanted);
      EXPECT_EQ(testing::GreedyAll(**tight, prompts, 60), wanted) << "again, what was kept may be shared";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CacheKinds,
                         ::testing::Values(Variant{"plain"}, Variant{"window", true}, Variant{"int4", false, nullptr, "int4"},
                                           Variant{"window_int4", true, nullptr, "int4"},
                                           Variant{"window_int8", true, nullptr, "int8"}, Variant{"longrope", false, LongRope()},
                                           Variant{"longrope_window", true, LongRope()},
                                           Variant{"longrope_window_turbo3", true, LongRope(), "turbo3"},
                                           Variant{"dynamic", false, {{"rope_type", "dynamic"}, {"factor", 4.0}}},
                                           Variant{"dynamic_window", true, {{"rope_type", "dynamic"}, {"factor", 4.0}}}),
                         [](const auto& test) { return std::string(test.param.name); });

// Latents in every format: near those in f32, and the same in steps of any size.
TEST(LatentCaches, EncodedOnesChangeLittle) {
  const std::string model = testing::Repo("tests/data/gguf-architectures/deepseek_v2.gguf");
  EngineOptions options = TestOptions();
  options.context = 128;
  auto exact = testing::OpenModel(model, options);
  ASSERT_TRUE(exact) << exact.error().ToString();
  const auto vocabulary = static_cast<int32_t>((*exact)->vocab());
  // Longer than the copies of the ends that caches of few bits keep.
  const std::vector<Tokens> rows = {RandomTokens(120, 1, vocabulary), RandomTokens(100, 2, vocabulary)};
  const std::vector<float> wanted = testing::Logits(**exact, rows);
  // Few bits cost less here than fp8 does: the ends of so short a sequence are exact.
  for (const auto& [name, most] : std::initializer_list<std::pair<const char*, double>>{
           {"bf16", 3e-3}, {"f16", 1e-4}, {"int8", 4e-3}, {"fp8", 4e-2}, {"nvfp4", 2e-2}, {"int4", 2e-2}, {"turbo3", 6e-2}}) {
    SCOPED_TRACE(name);
    options.kv_dtype = *ParseKvFormats(name);
    std::vector<float> first;
    for (const int64_t step : {512, 7}) {
      options.batch_rows = step;
      auto engine = testing::OpenModel(model, options);
      ASSERT_TRUE(engine) << engine.error().ToString();
      const std::vector<float> got = testing::Logits(**engine, rows);
      const double kl = testing::MeanKl(wanted, got, vocabulary);
      EXPECT_GT(kl, 1e-12);
      EXPECT_LT(kl, most);
      if (first.empty()) first = got;
      EXPECT_EQ(testing::DifferentBits(got, first), 0) << "steps of " << step;
    }
  }
}

}  // namespace
}  // namespace nibble
