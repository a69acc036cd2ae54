// SPDX-License-Identifier: Apache-2.0
#include "engine/generate.h"

#include <algorithm>
#include <chrono>

#include "tokenizers/stream_decoder.h"

namespace nibble {

std::string StopFilter::Push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  size_t first = std::string::npos;
  for (const std::string& stop : stop_)
    if (!stop.empty()) first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    stopped_ = true;
    return held_.substr(0, first);
  }
  // The longest end of held_ that begins some stop string stays.
  size_t keep = 0;
  for (const std::string& stop : stop_)
    for (size_t size = std::min(stop.size(), held_.size()); size > keep; --size)
      if (held_.compare(held_.size() - size, size, stop, 0, size) == 0) keep = size;
  std::string ready = held_.substr(0, held_.size() - keep);
  held_.erase(0, ready.size());
  return ready;
}

std::string StopFilter::Flush() {
  if (stopped_) return {};
  return std::exchange(held_, {});
}

Result<Generation> Generate(Engine& engine, const Tokenizer* tokenizer, std::vector<int32_t> prompt, const GenerateOptions& options,
                            const std::function<void(std::string_view)>& on_text) {
  if (!tokenizer && !options.stop.empty()) return Usage("--stop needs a tokenizer, and the model has none");
  using Clock = std::chrono::steady_clock;
  Generation result;
  result.prompt_tokens = static_cast<int64_t>(prompt.size());
  StopFilter filter(options.stop);
  std::unique_ptr<StreamDecoder> decoder;
  if (tokenizer) decoder = std::make_unique<StreamDecoder>(*tokenizer, options.skip_special);
  const auto deliver = [&](const std::string& text) {
    if (text.empty()) return;
    result.text += text;
    if (on_text) on_text(text);
  };
  const auto start = Clock::now();
  Clock::time_point first = start;
  Engine::Request request{
      .prompt = std::move(prompt), .max_tokens = options.max_tokens, .sampling = options.sampling, .eos = options.eos};
  request.on_token = [&](int32_t token) {
    if (result.tokens.empty()) first = Clock::now();
    result.tokens.push_back(token);
    if (decoder) deliver(filter.Push(decoder->Push(token)));
    return !filter.stopped();
  };
  request.on_finish = [&](Finish finish) { result.finish = finish; };
  NIBBLE_RETURN_IF_ERROR(engine.Add(std::move(request)).map([](SequenceId) {}));
  while (!engine.idle()) {
    if (Status step = engine.Step(); !step) {
      if (step.error().code != Code::kCancelled || result.tokens.empty()) return tl::unexpected(std::move(step.error()));
      result.finish = Finish::kStopped;  // interrupted by the user: what was said stands
      break;
    }
  }
  if (decoder) {
    deliver(filter.Push(decoder->Flush()));
    deliver(filter.Flush());
  }
  const auto end = Clock::now();
  if (result.tokens.empty()) first = end;
  result.prompt_seconds = std::chrono::duration<double>(first - start).count();
  result.decode_seconds = std::chrono::duration<double>(end - first).count();
  return result;
}

}  // namespace nibble
