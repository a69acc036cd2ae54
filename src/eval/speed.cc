// SPDX-License-Identifier: Apache-2.0
#include "eval/speed.h"

#include <algorithm>

#include "base/math.h"
#include "eval/seconds.h"

namespace nibble {
namespace {

std::vector<int32_t> SomeTokens(int64_t count, int64_t vocab) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) tokens[static_cast<size_t>(i)] = static_cast<int32_t>((i * 7919 + 1) % vocab);
  return tokens;
}

// Positions that a layer's rows at [begin, end) see, all together.
double SeenPositions(const LayerState& state, int64_t begin, int64_t end) {
  double seen = 0;
  for (int64_t position = begin; position < end; ++position)
    seen += static_cast<double>(state.window > 0 ? std::min(state.window, position + 1) : position + 1);
  return seen;
}

// Floating-point operations of attention, of rank 0, over the rows at [begin, end) of a sequence.
double AttentionFlops(const Graph& graph, int64_t begin, int64_t end) {
  double flops = 0;
  for (const Op& op : graph.ops)
    if (const auto* a = std::get_if<AttentionOp>(&op.op))
      flops += 2.0 * static_cast<double>(a->heads * (a->head_dim + a->v_dim)) *
               SeenPositions(graph.states[static_cast<size_t>(a->layer)], begin, end);
  return flops;
}

// Bytes of K and V that decoding those rows one by one reads.
double KvBytes(const Engine& engine, int64_t begin, int64_t end) {
  double bytes = 0;
  for (const Op& op : engine.graph().ops)
    if (const auto* a = std::get_if<AttentionOp>(&op.op)) {
      const LayerState& state = engine.graph().states[static_cast<size_t>(a->layer)];
      bytes += static_cast<double>(PagedCache::TokenBytes(state, engine.kv_dtype())) * SeenPositions(state, begin, end);
    }
  return bytes;
}

struct Timing {
  double tok_s = 0;
  double attention = 0;       // share of the time
  double attention_rate = 0;  // prefill: operations a second; decode: bytes a second
};

// What the executor of rank 0 has spent in attention since it was last asked, and in everything.
std::pair<double, double> AttentionSeconds(Engine& engine) {
  double attention = 0, all = 0;
  for (const OpTime& time : engine.executor().TakeProfile()) {
    all += time.seconds;
    if (time.kind == AttentionOp::kName) attention += time.seconds;
  }
  return {attention, all};
}

Timing TimingOf(double tok_s, std::pair<double, double> seconds, double work) {
  const auto [attention, all] = seconds;
  return {tok_s, all > 0 ? attention / all : 0, attention > 0 ? work / attention : 0};
}

// One prompt.
Result<Timing> Prefill(Engine& engine, int64_t count) {
  AttentionSeconds(engine);
  const auto start = Clock::now();
  NIBBLE_RETURN_IF_ERROR(engine.Add({.prompt = SomeTokens(count, engine.vocab()), .max_tokens = 0}).map([](SequenceId) {}));
  NIBBLE_RETURN_IF_ERROR(engine.RunUntilIdle());
  const double seconds = Seconds(start);
  return TimingOf(static_cast<double>(count) / seconds, AttentionSeconds(engine), AttentionFlops(engine.graph(), 0, count));
}

int64_t TokensBefore(const SpeedOptions& o) { return std::max<int64_t>(o.depth, 1); }
// Most tokens of a sequence until all decode.
int64_t TokensWhileOthersStart(const SpeedOptions& o, int64_t step_rows) {
  return o.batch * CeilDiv(TokensBefore(o), step_rows) + 1;
}

// While all sequences decode: from the last one's first token until one has `generate` more, each after `depth` others.
Result<Timing> Decode(Engine& engine, const SpeedOptions& o) {
  Clock::time_point start, end;
  int64_t started = 0, counted = 0;
  bool done = false;
  const int64_t before = TokensBefore(o);
  for (int64_t i = 0; i < o.batch; ++i) {
    Engine::Request request{.prompt = SomeTokens(before, engine.vocab()),
                            .max_tokens = o.generate + TokensWhileOthersStart(o, engine.executor().max_rows())};
    request.on_token = [&, first = true, mine = int64_t{0}](int32_t) mutable {
      if (done) return false;
      if (started < o.batch) {
        if (first && ++started == o.batch) {
          AttentionSeconds(engine);
          start = Clock::now();
        }
        first = false;
        return true;
      }
      ++counted;
      done = ++mine == o.generate;
      if (done) end = Clock::now();
      return !done;
    };
    NIBBLE_RETURN_IF_ERROR(engine.Add(std::move(request)).map([](SequenceId) {}));
  }
  NIBBLE_RETURN_IF_ERROR(engine.RunUntilIdle());
  const double seconds = std::chrono::duration<double>(end - start).count();
  return TimingOf(static_cast<double>(counted) / seconds, AttentionSeconds(engine),
                  static_cast<double>(o.batch) * KvBytes(engine, before, before + counted / o.batch));
}

// Multiply-adds of one token in the linear layers (active experts only).
double LinearMacs(const Engine& engine) {
  double macs = 0;
  for (const LinearSpec& linear : engine.graph().linears)
    if (!linear.is_lm_head) macs += static_cast<double>(linear.n() * linear.k);
  for (const MoeSpec& moe : engine.graph().moes) macs += static_cast<double>(3 * moe.top_k * moe.hidden * moe.inter);
  return macs;
}

// Bytes of packed weights one token reads.
double ActiveBytes(const Engine& engine) {
  double bytes = 0;
  for (const BoundLinear& linear : engine.weights().linears) bytes += static_cast<double>(linear.packed.packed_bytes);
  for (size_t i = 0; i < engine.weights().moes.size(); ++i) {
    double experts = 0;
    for (const BoundExpert& expert : engine.weights().moes[i])
      experts += static_cast<double>(expert.w13.packed_bytes + expert.w2.packed_bytes);
    bytes += experts * static_cast<double>(engine.graph().moes[i].top_k) / static_cast<double>(engine.graph().moes[i].experts);
  }
  return bytes;
}

double Median(const std::vector<Timing>& timings, double Timing::*field) {
  std::vector<double> values;
  for (const Timing& timing : timings) values.push_back(timing.*field);
  return Summarize(std::move(values)).median;
}
Sample Speeds(const std::vector<Timing>& timings) {
  std::vector<double> values;
  for (const Timing& timing : timings) values.push_back(timing.tok_s);
  return Summarize(std::move(values));
}

Roofline MedianOf(const std::vector<Roofline>& rooflines) {
  Roofline median = rooflines.front();
  for (double Roofline::*field : {&Roofline::read_gb_s, &Roofline::fma_gflop_s, &Roofline::dot8_gop_s, &Roofline::dot16_gop_s}) {
    std::vector<double> values;
    for (const Roofline& roofline : rooflines) values.push_back(roofline.*field);
    median.*field = Summarize(std::move(values)).median;
  }
  return median;
}

}  // namespace

int64_t ContextFor(const SpeedOptions& options, int64_t step_rows) {
  return std::max(options.prompt, TokensBefore(options) + options.generate + TokensWhileOthersStart(options, step_rows) + 1);
}

Result<std::vector<SpeedResult>> MeasureSpeed(const std::vector<Engine*>& engines, const SpeedOptions& options,
                                              Progress* progress) {
  std::vector<std::vector<Timing>> prefill(engines.size()), decode(engines.size());
  std::vector<Roofline> rooflines;
  for (Engine* engine : engines) {  // warm up: first touch of cache pages and code
    engine->executor().EnableProfile(true);
    NIBBLE_RETURN_IF_ERROR(Prefill(*engine, std::clamp<int64_t>(options.prompt, 1, 32)).map([](const Timing&) {}));
  }
  for (int round = 0; round < options.rounds; ++round) {
    rooflines.push_back(MeasureRoofline(engines[0]->threads()));
    for (size_t i = 0; i < engines.size(); ++i) {
      if (options.prompt > 0) {
        NIBBLE_TRY(prefill[i].emplace_back(), Prefill(*engines[i], options.prompt));
      }
      if (options.generate > 0) {
        NIBBLE_TRY(decode[i].emplace_back(), Decode(*engines[i], options));
      }
    }
    if (progress) progress->Update("rounds", round + 1, options.rounds);
  }
  std::vector<SpeedResult> results;
  for (size_t i = 0; i < engines.size(); ++i) {
    SpeedResult r{Speeds(prefill[i]), Speeds(decode[i]), MedianOf(rooflines)};
    const double peak = r.roofline.fma_gflop_s * 1e9, bandwidth = r.roofline.read_gb_s * 1e9;
    r.prefill_share = r.prefill_tok_s.median * 2 * LinearMacs(*engines[i]) / peak;
    r.fits_in_cache = ActiveBytes(*engines[i]) < 2 * static_cast<double>(Cpu().l3_bytes);
    const double steps = r.decode_tok_s.median / static_cast<double>(options.batch);
    if (!r.fits_in_cache) r.decode_share = steps * ActiveBytes(*engines[i]) / bandwidth;
    r.prefill_attention = Median(prefill[i], &Timing::attention);
    r.prefill_attention_peak = Median(prefill[i], &Timing::attention_rate) / peak;
    r.decode_attention = Median(decode[i], &Timing::attention);
    r.decode_kv_bandwidth = Median(decode[i], &Timing::attention_rate) / bandwidth;
    results.push_back(r);
  }
  return results;
}

}  // namespace nibble
