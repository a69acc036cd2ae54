// SPDX-License-Identifier: Apache-2.0
// The engine's promises: a sequence's numbers do not depend on what runs beside it, on threads, on the instruction set or on
// preemption; prefixes are shared; errors are values.
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "base/progress.h"
#include "engine/generate.h"
#include "io/json.h"
#include "io/mapped_file.h"
#include "methods/checkpoint_test.h"
#include "support/models.h"

namespace nibble {
namespace {

using testing::TestOptions;
using testing::Tokens;

std::string Tales1m() { return testing::Repo("tests/data/models/tales-1m"); }

Tokens SomeTokens(int64_t count, uint32_t seed, int32_t vocabulary = 512) {
  std::mt19937 random(seed);
  Tokens tokens = {0};
  while (static_cast<int64_t>(tokens.size()) < count)
    tokens.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary)));
  return tokens;
}

std::unique_ptr<Engine> MustOpen(const std::string& path, const EngineOptions& options) {
  auto engine = testing::OpenModel(path, options);
  EXPECT_TRUE(engine) << engine.error().ToString();
  return engine ? std::move(*engine) : nullptr;
}

// Runs a request to its end and says how it ended.
struct Outcome {
  Tokens tokens;
  Finish finish = Finish::kNone;
  int finishes = 0;
};
Engine::Request Record(Engine::Request request, Outcome* outcome) {
  request.on_token = [outcome](int32_t token) {
    outcome->tokens.push_back(token);
    return true;
  };
  request.on_finish = [outcome](Finish finish) {
    outcome->finish = finish;
    ++outcome->finishes;
  };
  return request;
}

class Together : public ::testing::TestWithParam<std::string_view> {};

TEST_P(Together, SequencesOfDifferentLengthsGiveWhatEachGivesAlone) {
  EngineOptions options = TestOptions();
  options.kv_dtype = *ParseKvFormats(GetParam());
  options.context = 160;
  options.share_prefixes = false;
  std::vector<Tokens> rows;
  for (const int64_t length : {1, 2, 31, 32, 33, 64, 97, 150}) rows.push_back(SomeTokens(length, static_cast<uint32_t>(length)));

  auto alone = MustOpen(Tales1m(), options);
  ASSERT_TRUE(alone);
  std::vector<float> wanted;
  std::vector<Tokens> wanted_tokens;
  for (const Tokens& row : rows) {
    const std::vector<float> logits = testing::Logits(*alone, {row});
    wanted.insert(wanted.end(), logits.begin(), logits.end());
    wanted_tokens.push_back(testing::Greedy(*alone, row, 10));
  }
  for (const int64_t batch_rows : {7, 64, 512}) {
    SCOPED_TRACE(batch_rows);
    options.batch_rows = batch_rows;
    options.max_sequences = 8;
    auto together = MustOpen(Tales1m(), options);
    ASSERT_TRUE(together);
    EXPECT_EQ(testing::DifferentBits(testing::Logits(*together, rows), wanted), 0);
    EXPECT_EQ(testing::GreedyAll(*together, rows, 10), wanted_tokens);
  }
}

INSTANTIATE_TEST_SUITE_P(Cache, Together, ::testing::ValuesIn(KvFormatNames().begin(), KvFormatNames().end()),
                         [](const auto& test) { return std::string(test.param); });

TEST(Engine, AMixtureOfExpertsDoesNotMixSequencesEither) {
  EngineOptions options = TestOptions();
  options.max_sequences = 4;
  auto engine = MustOpen(testing::Repo("tests/data/architectures/mixtral"), options);
  ASSERT_TRUE(engine);
  const auto vocabulary = static_cast<int32_t>(engine->vocab());
  const std::vector<Tokens> rows = {SomeTokens(5, 1, vocabulary), SomeTokens(17, 2, vocabulary), SomeTokens(1, 3, vocabulary)};
  std::vector<float> wanted;
  for (const Tokens& row : rows) {
    const std::vector<float> logits = testing::Logits(*engine, {row});
    wanted.insert(wanted.end(), logits.begin(), logits.end());
  }
  EXPECT_EQ(testing::DifferentBits(testing::Logits(*engine, rows), wanted), 0);
}

TEST(Engine, SharedPrefixesGiveTheSameTokens) {
  EngineOptions options = TestOptions();
  options.max_sequences = 4;
  options.context = 256;
  const Tokens beginning = SomeTokens(100, 7);
  std::vector<Tokens> prompts;
  for (uint32_t i = 0; i < 4; ++i) {
    Tokens prompt = beginning;
    for (const int32_t token : SomeTokens(3 + i, 100 + i)) prompt.push_back(token);
    prompts.push_back(prompt);
  }
  options.share_prefixes = false;
  auto separate = MustOpen(Tales1m(), options);
  ASSERT_TRUE(separate);
  const auto wanted = testing::GreedyAll(*separate, prompts, 40);
  EXPECT_EQ(separate->shared_tokens(), 0);

  options.share_prefixes = true;
  auto sharing = MustOpen(Tales1m(), options);
  ASSERT_TRUE(sharing);
  EXPECT_EQ(testing::Greedy(*sharing, prompts[0], 40), wanted[0]);
  EXPECT_EQ(sharing->shared_tokens(), 0);
  EXPECT_EQ(testing::GreedyAll(*sharing, prompts, 40), wanted);
  // Three whole pages of the beginning for each; the first prompt was there before, up to its own last whole page.
  EXPECT_GE(sharing->shared_tokens(), 4 * 96);
  // A prompt that continues what another generated shares that too.
  Tokens longer = prompts[1];
  longer.insert(longer.end(), wanted[1].begin(), wanted[1].end());
  const int64_t before = sharing->shared_tokens();
  EXPECT_EQ(testing::Greedy(*sharing, longer, 8), testing::Greedy(*separate, longer, 8));
  EXPECT_GE(sharing->shared_tokens() - before, 128);
}

// Two layers, of which the first sees 40 positions: its cache keeps what a step needs of them, and nothing else changes.
TEST(Engine, SlidingLayersKeepTheirWindowAlone) {
  const testing::TempDir dir;
  Json config = *ParseJson(*ReadTextFile(Tales1m() + "/config.json"), "config.json");
  config["model_type"] = "mistral";
  config["sliding_window"] = 40;
  config["layer_types"] = {"sliding_attention", "full_attention"};
  std::ofstream(dir.path() + "/config.json") << config.dump();
  std::filesystem::create_symlink(Tales1m() + "/model.safetensors", dir.path() + "/model.safetensors");
  std::vector<Tokens> prompts;
  for (const int64_t length : {5, 39, 40, 41, 100, 200}) prompts.push_back(SomeTokens(length, static_cast<uint32_t>(length)));

  EngineOptions options = TestOptions();
  options.context = 320;
  options.share_prefixes = false;
  auto everything = MustOpen(dir.path(), options);  // a step as long as the context: nothing is given back before the end
  ASSERT_TRUE(everything);
  const auto wanted = testing::GreedyAll(*everything, prompts, 100);

  options.max_sequences = 2;
  for (const int64_t rows : {1, 8, 33}) {
    for (const bool share : {false, true}) {
      options.batch_rows = rows;
      options.share_prefixes = share;
      auto engine = MustOpen(dir.path(), options);
      ASSERT_TRUE(engine);
      // 10 pages a sequence for the full layer; for the other what 39 + rows positions need. Two K/V heads of 64 f32.
      const int64_t page = kPageTokens * 2 * 2 * 64 * 4, of_window = (39 + rows - 1 + 31) / 32 + 1;
      EXPECT_EQ(engine->plan().kv_fixed_bytes, 2 * of_window * page);
      EXPECT_EQ(engine->plan().kv_bytes, 2 * (10 + of_window) * page);
      EXPECT_EQ(testing::GreedyAll(*engine, prompts, 100), wanted) << rows;
      if (!share) continue;
      // A prompt that goes on where the last sequence ended finds its window's pages still there.
      Tokens longer = prompts.back();
      longer.insert(longer.end(), wanted.back().begin(), wanted.back().end());
      const int64_t before = engine->shared_tokens();
      EXPECT_EQ(testing::Greedy(*engine, longer, 10), testing::Greedy(*everything, longer, 10)) << rows;
      EXPECT_GT(engine->shared_tokens(), before) << rows;
    }
  }
}

TEST(Engine, MoreSequencesThanPagesStillFinishWithTheSameTokens) {
  EngineOptions options = TestOptions();
  options.context = 96;
  std::vector<Tokens> prompts;
  for (uint32_t i = 0; i < 6; ++i) prompts.push_back(SomeTokens(20 + i, 40 + i));
  auto roomy = MustOpen(Tales1m(), options);
  ASSERT_TRUE(roomy);
  std::vector<Tokens> wanted;
  for (const Tokens& prompt : prompts) wanted.push_back(testing::Greedy(*roomy, prompt, 60));
  for (const bool share : {true, false}) {
    for (const int64_t sequences : {1, 2}) {  // 3 or 6 pages for six sequences of three pages each
      SCOPED_TRACE(sequences);
      options.max_sequences = sequences;
      options.share_prefixes = share;
      auto tight = MustOpen(Tales1m(), options);
      ASSERT_TRUE(tight);
      EXPECT_EQ(testing::GreedyAll(*tight, prompts, 60), wanted);
      // Scoring too.
      std::vector<float> logits;
      for (const Tokens& prompt : prompts) {
        const auto one = testing::Logits(*roomy, {prompt});
        logits.insert(logits.end(), one.begin(), one.end());
      }
      EXPECT_EQ(testing::DifferentBits(testing::Logits(*tight, prompts), logits), 0);
    }
  }
}

TEST(Engine, SamplingDoesNotDependOnPreemption) {
  EngineOptions options = TestOptions();
  options.context = 96;
  const auto run = [&](int64_t sequences) {
    options.max_sequences = sequences;
    auto engine = MustOpen(Tales1m(), options);
    std::vector<Tokens> out(5);
    for (uint32_t i = 0; i < 5; ++i) {
      Engine::Request request = testing::GreedyRequest(SomeTokens(20, i), 60, &out[i]);
      request.sampling = {.temperature = 1, .top_k = 50, .repeat_penalty = 1.1f, .seed = i};
      EXPECT_TRUE(engine->Add(std::move(request)));
    }
    EXPECT_TRUE(engine->RunUntilIdle());
    return out;
  };
  EXPECT_EQ(run(1), run(5));
}

TEST(Engine, AContextThatFillsUpEnds) {
  EngineOptions options = TestOptions();
  options.context = 50;  // not a whole number of pages
  auto engine = MustOpen(Tales1m(), options);
  ASSERT_TRUE(engine);
  Outcome outcome;
  ASSERT_TRUE(engine->Add(Record({.prompt = SomeTokens(40, 1)}, &outcome)));
  ASSERT_TRUE(engine->RunUntilIdle());
  EXPECT_EQ(outcome.finish, Finish::kContext);
  EXPECT_EQ(outcome.finishes, 1);
  // 50 positions are computed; the last of them predicts one more token.
  EXPECT_EQ(outcome.tokens.size(), 11u);
  Outcome full;
  ASSERT_TRUE(engine->Add(Record({.prompt = SomeTokens(50, 1)}, &full)));
  ASSERT_TRUE(engine->RunUntilIdle());
  EXPECT_EQ(full.tokens.size(), 1u);
  EXPECT_EQ(full.finish, Finish::kContext);
}

TEST(Engine, EndsAtEosAndAtTheLimit) {
  auto engine = MustOpen(Tales1m(), TestOptions());
  ASSERT_TRUE(engine);
  const Tokens prompt = SomeTokens(12, 3);
  const Tokens plain = testing::Greedy(*engine, prompt, 12);
  Outcome eos, none;
  ASSERT_TRUE(engine->Add(Record({.prompt = prompt, .max_tokens = 12, .eos = {plain[5]}}, &eos)));
  ASSERT_TRUE(engine->Add(Record({.prompt = prompt, .max_tokens = 0}, &none)));
  ASSERT_TRUE(engine->RunUntilIdle());
  EXPECT_EQ(eos.finish, Finish::kEos);
  const auto first = std::find(plain.begin(), plain.end(), plain[5]);
  EXPECT_EQ(eos.tokens, Tokens(plain.begin(), first));
  EXPECT_EQ(none.finish, Finish::kLength);
  EXPECT_TRUE(none.tokens.empty());
}

TEST(Engine, CancelEndsOneAndLeavesTheOthersAlone) {
  EngineOptions options = TestOptions();
  options.max_sequences = 2;
  options.context = 64;
  auto engine = MustOpen(Tales1m(), options);
  ASSERT_TRUE(engine);
  const Tokens wanted = testing::Greedy(*engine, SomeTokens(9, 2), 30);
  Outcome running, stays, waiting;
  const auto first = engine->Add(Record({.prompt = SomeTokens(9, 1), .max_tokens = 30}, &running));
  ASSERT_TRUE(engine->Add(Record({.prompt = SomeTokens(9, 2), .max_tokens = 30}, &stays)));
  ASSERT_TRUE(first);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine->Step());
  EXPECT_EQ(running.tokens.size(), 5u);
  const auto last = engine->Add(Record({.prompt = SomeTokens(9, 3), .max_tokens = 30}, &waiting));
  ASSERT_TRUE(last);
  engine->Cancel(*first);
  engine->Cancel(*last);   // never began
  engine->Cancel(*first);  // gone: nothing happens
  engine->Cancel(12345);
  EXPECT_EQ(running.finish, Finish::kStopped);
  EXPECT_EQ(waiting.finish, Finish::kStopped);
  ASSERT_TRUE(engine->RunUntilIdle());
  EXPECT_EQ(running.tokens.size(), 5u);
  EXPECT_EQ(running.finishes, 1);
  EXPECT_EQ(waiting.finishes, 1);
  EXPECT_TRUE(waiting.tokens.empty());
  EXPECT_EQ(stays.tokens, wanted);
  // Its pages are free again: two whole contexts fit.
  EXPECT_EQ(testing::GreedyAll(*engine, {SomeTokens(9, 2), SomeTokens(9, 2)}, 30), (std::vector<Tokens>{wanted, wanted}));
}

TEST(Engine, CallbacksMayCancelAndAdd) {
  EngineOptions options = TestOptions();
  options.max_sequences = 3;
  auto engine = MustOpen(Tales1m(), options);
  ASSERT_TRUE(engine);
  Outcome victim, added;
  SequenceId victim_id = 0, killer_id = 0;
  Tokens mine;
  Engine::Request killer = testing::GreedyRequest(SomeTokens(9, 1), 8, &mine);
  killer.on_token = [&](int32_t token) {
    mine.push_back(token);
    if (mine.size() == 6) engine->Cancel(killer_id);  // itself
    if (mine.size() == 3) {
      engine->Cancel(victim_id);
      EXPECT_TRUE(engine->Add(Record({.prompt = SomeTokens(4, 9), .max_tokens = 2}, &added)));
    }
    return true;
  };
  const auto killer_added = engine->Add(std::move(killer));
  ASSERT_TRUE(killer_added);
  killer_id = *killer_added;
  const auto id = engine->Add(Record({.prompt = SomeTokens(9, 2), .max_tokens = 8}, &victim));
  ASSERT_TRUE(id);
  victim_id = *id;
  ASSERT_TRUE(engine->RunUntilIdle());
  EXPECT_EQ(mine.size(), 6u);
  EXPECT_EQ(victim.tokens.size(), 2u);
  EXPECT_EQ(victim.finishes, 1);
  EXPECT_EQ(added.tokens.size(), 2u);
}

TEST(Engine, StopRequestedStopsAndTheEngineGoesOnAfterwards) {
  auto engine = MustOpen(Tales1m(), TestOptions());
  ASSERT_TRUE(engine);
  const Tokens wanted = testing::Greedy(*engine, SomeTokens(9, 2), 10);
  Outcome outcome;
  ASSERT_TRUE(engine->Add(Record({.prompt = SomeTokens(9, 2), .max_tokens = 10}, &outcome)));
  ASSERT_TRUE(engine->Step());
  StopRequested() = true;
  const Status stopped = engine->RunUntilIdle();
  StopRequested() = false;
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Code::kCancelled);
  ASSERT_TRUE(engine->RunUntilIdle());
  EXPECT_EQ(outcome.tokens, wanted);
}

TEST(Engine, StopStringsEndTheTextAndAreNotDelivered) {
  auto engine = MustOpen(Tales1m(), TestOptions());
  ASSERT_TRUE(engine);
  const auto tokenizer = Tokenizer::Open(Tales1m());
  ASSERT_TRUE(tokenizer) << tokenizer.error().ToString();
  const auto prompt = (*tokenizer)->Encode("Once upon a time", true);
  ASSERT_TRUE(prompt);
  const auto plain = Generate(*engine, tokenizer->get(), *prompt, {.max_tokens = 40}, nullptr);
  ASSERT_TRUE(plain) << plain.error().ToString();
  ASSERT_GT(plain->text.size(), 20u);
  // Cuts through the middle of tokens.
  const std::string stop = plain->text.substr(11, 6);
  std::string streamed;
  const auto cut = Generate(*engine, tokenizer->get(), *prompt, {.max_tokens = 40, .stop = {"never said", stop}},
                            [&](std::string_view text) { streamed += text; });
  ASSERT_TRUE(cut) << cut.error().ToString();
  EXPECT_EQ(cut->text, plain->text.substr(0, plain->text.find(stop)));
  EXPECT_EQ(streamed, cut->text);
  EXPECT_EQ(cut->finish, Finish::kStopped);
  EXPECT_LT(cut->tokens.size(), plain->tokens.size());
  EXPECT_EQ(Generate(*engine, nullptr, *prompt, {.max_tokens = 4, .stop = {"x"}}, nullptr).error().code, Code::kUsage);
}

TEST(Engine, WrongRequestsAreErrors) {
  EngineOptions options = TestOptions();
  options.context = 64;
  auto engine = MustOpen(Tales1m(), options);
  ASSERT_TRUE(engine);
  const auto error = [&](Tokens prompt) {
    auto id = engine->Add({.prompt = std::move(prompt)});
    EXPECT_FALSE(id);
    return id ? Error{} : id.error();
  };
  EXPECT_EQ(error({}).code, Code::kUsage);
  EXPECT_EQ(error(SomeTokens(65, 1)).code, Code::kUsage);
  EXPECT_NE(error(SomeTokens(65, 1)).message.find("65"), std::string::npos);
  EXPECT_NE(error(SomeTokens(65, 1)).message.find("64"), std::string::npos);
  EXPECT_EQ(error({0, 512}).code, Code::kCorrupt);
  EXPECT_NE(error({0, 512}).message.find("512"), std::string::npos);
  EXPECT_EQ(error({-1}).code, Code::kCorrupt);
  const auto bad = engine->Add({.prompt = {1}, .sampling = {.temperature = -1}});
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, Code::kUsage);
  EXPECT_TRUE(engine->idle());
}

// The same bits whatever computes them.
class Invariance : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string name = GetParam();
    if (name.starts_with("tests/")) {
      path_ = testing::Repo(name);
      return;
    }
    if (testing::Checkpoints().empty()) GTEST_SKIP() << "needs the shared data: data/checkpoints.tar.xz";
    path_ = testing::Checkpoints() + "/" + name;
  }
  std::vector<float> LogitsOf(const EngineOptions& options) const {
    auto engine = MustOpen(path_, options);
    if (!engine) return {};
    const auto vocabulary = static_cast<int32_t>(engine->vocab());
    return testing::Logits(*engine, {SomeTokens(37, 1, vocabulary), SomeTokens(6, 2, vocabulary)});
  }
  std::string path_;
};

TEST_P(Invariance, ThreadsDoNotMatter) {
  EngineOptions options = TestOptions();
  options.threads = 1;
  const auto wanted = LogitsOf(options);
  for (const int threads : {2, 3}) {
    SCOPED_TRACE(threads);
    options.threads = threads;
    EXPECT_EQ(testing::DifferentBits(LogitsOf(options), wanted), 0);
  }
}

TEST_P(Invariance, InstructionSetsDoNotMatter) {
  EngineOptions options = TestOptions();
  options.load.isa = Isa::kScalar;
  const auto wanted = LogitsOf(options);
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAmx}) {
    if (isa > Cpu().isa) continue;
    SCOPED_TRACE(IsaName(isa));
    options.load.isa = isa;
    EXPECT_EQ(testing::DifferentBits(LogitsOf(options), wanted), 0);
  }
}

TEST_P(Invariance, TheReferenceKernelAgrees) {
  EngineOptions options = TestOptions();
  const auto wanted = LogitsOf(options);
  options.load.reference = true;
  const auto reference = LogitsOf(options);
  if (!std::string_view(GetParam()).starts_with("llmcompressor-w8a8")) {
    EXPECT_EQ(testing::DifferentBits(reference, wanted), 0);
    return;
  }
  // The reference multiplies what codes mean in f32; integer kernels sum the codes (IntegerKernels tests them one by one). What
  // rounds otherwise moves a code or a zero point of a later layer now and then.
  ASSERT_EQ(reference.size(), wanted.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    difference += std::pow(static_cast<double>(reference[i]) - wanted[i], 2);
    size += std::pow(static_cast<double>(wanted[i]), 2);
  }
  EXPECT_LT(std::sqrt(difference / size), 5e-3);
}

INSTANTIATE_TEST_SUITE_P(All, Invariance,
                         ::testing::Values("tests/data/models/tales-1m", "tests/data/models/stories260K",
                                           "tests/data/architectures/mixtral", "tests/data/architectures/mistral",
                                           "tests/data/checkpoints/llamacpp-q2-k", "gptqmodel-4bit-g128-asym-desc",
                                           "gptqmodel-3bit-g128", "gptqmodel-awq-gemm-g128", "hf-fp8-block128", "llamacpp-q4-k-m",
                                           "llmcompressor-w8a8-static-tensor-asym", "llmcompressor-w8a8-dynamic-token-asym",
                                           "llmcompressor-fp8-block"),
                         [](const auto& test) {
                           std::string name = std::filesystem::path(test.param).filename().string();
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Engine, Int8ActivationsChangeLittle) {
  const std::string folder = testing::Repo("tests/data/checkpoints/llamacpp-q2-k");
  EngineOptions options = TestOptions();
  auto exact = MustOpen(folder, options);
  options.load.activations = ActivationPolicy::kInt8;
  auto rounded = MustOpen(folder, options);
  ASSERT_TRUE(exact && rounded);
  const testing::Golden golden = testing::ReadGolden(folder + "/expected/logits.safetensors");
  const auto wanted = testing::Logits(*exact, golden.tokens), got = testing::Logits(*rounded, golden.tokens);
  testing::ExpectClose(wanted, golden.logits);
  const double kl = testing::MeanKl(wanted, got, exact->vocab());
  EXPECT_GT(kl, 1e-8);  // it did something
  EXPECT_LT(kl, 2e-3);  // llama.cpp's 8-bit activations cost 7e-4 on this model
}

TEST(Engine, CacheTypesChangeLittle) {
  // Longer than the copies of the ends that caches of few bits keep.
  const std::vector<Tokens> rows = {SomeTokens(200, 1), SomeTokens(150, 2)};
  auto plain = MustOpen(Tales1m(), TestOptions());
  ASSERT_TRUE(plain);
  const std::vector<float> wanted = testing::Logits(*plain, rows);
  double int4 = 0;
  for (const auto& [name, most] : std::initializer_list<std::pair<const char*, double>>{{"bf16", 1e-4},
                                                                                        {"f16", 1e-4},
                                                                                        {"int8", 1e-3},
                                                                                        {"fp8", 2e-2},
                                                                                        {"fp8_per_token_head", 2e-2},
                                                                                        {"fp8_e5m2", 4e-2},
                                                                                        {"int4", 5e-2},
                                                                                        {"nvfp4", 5e-2},
                                                                                        {"turbo4", 5e-2},
                                                                                        {"turbo3", 0.2}}) {
    SCOPED_TRACE(name);
    EngineOptions options = TestOptions();
    options.kv_dtype = *ParseKvFormats(name);
    auto engine = MustOpen(Tales1m(), options);
    ASSERT_TRUE(engine);
    EXPECT_EQ(engine->kv_dtype(), *ParseKvFormats(name));
    const double kl = testing::MeanKl(wanted, testing::Logits(*engine, rows), engine->vocab());
    EXPECT_GT(kl, 1e-12);
    EXPECT_LT(kl, most);
    if (std::string_view(name) == "int4") int4 = kl;
  }
  // K in 8 bits and V in 4 lie between.
  EngineOptions options = TestOptions();
  options.kv_dtype = KvFormats(ParseKvFormats("int8")->k, ParseKvFormats("int4")->v);
  auto engine = MustOpen(Tales1m(), options);
  ASSERT_TRUE(engine);
  EXPECT_LT(testing::MeanKl(wanted, testing::Logits(*engine, rows), engine->vocab()), int4);
}

TEST(Engine, PackCacheGivesTheSameBits) {
  testing::TempDir folder;
  EngineOptions options = TestOptions();
  auto plain = MustOpen(Tales1m(), options);
  ASSERT_TRUE(plain);
  const std::vector<Tokens> rows = {SomeTokens(20, 1)};
  const auto wanted = testing::Logits(*plain, rows);
  options.load.pack_cache_dir = folder.path();
  for (int start = 0; start < 2; ++start) {  // writes, then reads
    auto cached = MustOpen(Tales1m(), options);
    ASSERT_TRUE(cached);
    EXPECT_EQ(testing::DifferentBits(testing::Logits(*cached, rows), wanted), 0);
    EXPECT_FALSE(std::filesystem::is_empty(folder.path()));
  }
}

}  // namespace
}  // namespace nibble
