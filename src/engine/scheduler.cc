// SPDX-License-Identifier: Apache-2.0
// One step of the batch: admit, choose rows (running sequences that decode first, then chunks of prompts), find pages for them,
// run, hand out the results. When pages run out the youngest sequence gives its pages back and is computed again later.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "engine/engine.h"

namespace nibble {

// Where angles depend on the length of a sequence: equal numbers where equal tokens have equal keys. The lowest bit: LongRoPE's
// other table; above it the prompt's length, once dynamic scaling moves its base (that of generated tokens depends on their
// positions).
uint64_t Engine::AnglesOf(const Sequence& s) const {
  uint64_t angles = 0;
  for (const RopeSpec& rope : graph().ropes) {
    if (rope.long_from > 0 && static_cast<int64_t>(s.tokens.size()) > rope.long_from) angles |= 1;
    if (rope.dynamic_from > 0 && s.prompt_size > rope.dynamic_from) angles |= static_cast<uint64_t>(s.prompt_size) << 1;
  }
  return angles;
}

void Engine::BeginSequence(Sequence* s) {
  s->computed = s->published = 0;
  s->angles = s->page_hash = AnglesOf(*s);
}

// Sequences that grew past LongRoPE's length are computed anew: all their keys have other angles from now on. (Dynamic scaling goes
// on with the keys it has, as transformers does.)
void Engine::RestartOutgrown() {
  for (const auto& s : running_) {
    if (s->computed == 0 || AnglesOf(*s) == s->angles) continue;
    ReleasePages(s.get());
    BeginSequence(s.get());
  }
}

// Pages of the prompt's beginning that an earlier sequence left; at least one token stays to be computed. Layers with a window need
// those alone that the next position sees.
void Engine::TakeSharedPages(Sequence* s) {
  PagedCache& cache = *caches_[0];
  if (!share_prefixes_ || s->scoring() || !cache.shares_prefixes()) return;
  const auto tokens = [&](int64_t page) {
    return std::span<const int32_t>(s->tokens.data() + page * kPageTokens, static_cast<size_t>(kPageTokens));
  };
  const auto first_needed = [&](int group, int64_t shared) {
    const int64_t window = cache.window(group);
    return window == 0 ? 0 : std::max<int64_t>(0, shared * kPageTokens - window + 1) / kPageTokens;
  };
  std::vector<uint64_t> hashes;
  for (int64_t page = 0; (page + 1) * kPageTokens < static_cast<int64_t>(s->tokens.size()); ++page)
    hashes.push_back(PagePool::ChainHash(page == 0 ? s->page_hash : hashes.back(), tokens(page)));
  const auto is_shared = [&](int group, int64_t page) {
    return cache.pool(group).IsShared(hashes[static_cast<size_t>(page)], tokens(page));
  };
  auto shared = static_cast<int64_t>(hashes.size());
  for (bool changed = true; changed && shared > 0;) {
    changed = false;
    for (int group = 0; group < cache.groups(); ++group)
      for (int64_t page = first_needed(group, shared); page < shared; ++page)
        if (!is_shared(group, page)) shared = page, changed = true;
  }
  if (shared == 0) return;
  for (int group = 0; group < cache.groups(); ++group) {
    std::vector<int32_t>& pages = s->pages[static_cast<size_t>(group)];
    pages.assign(static_cast<size_t>(shared), -1);
    for (int64_t page = first_needed(group, shared); page < shared; ++page)
      pages[static_cast<size_t>(page)] = cache.pool(group).FindShared(hashes[static_cast<size_t>(page)], tokens(page));
  }
  s->published = shared;
  s->page_hash = hashes[static_cast<size_t>(shared - 1)];
  s->computed = shared * kPageTokens;
  shared_tokens_ += s->computed;
}

// Its whole prompt could have pages, so that prompts do not thrash.
bool Engine::HasRoomFor(const Sequence& s) {
  PagedCache& cache = *caches_[0];
  for (int group = 0; group < cache.groups(); ++group) {
    const LayerState keeps{.window = cache.window(group)};
    const int64_t needed =
        PagedCache::SequencePages(keeps, {.context = static_cast<int64_t>(s.tokens.size()), .step_rows = batch_rows_});
    if (needed > cache.pool(group).free_pages()) return false;
  }
  return true;
}

void Engine::Admit() {
  while (!waiting_.empty()) {
    Sequence* next = waiting_.front().get();
    if (!running_.empty() && !HasRoomFor(*next)) return;
    StateSlots* slots = caches_[0]->slots();
    if (slots && slots->free_slots() == 0) return;
    if (PagedCache* ends = caches_[0]->ends(); ends && ends->groups() > 0) {
      if (ends->pool(0).free_pages() < kEndPages) return;
      for (int64_t i = 0; i < kEndPages; ++i) next->end_pages.push_back(ends->pool(0).Allocate());
    }
    next->pages.resize(static_cast<size_t>(caches_[0]->groups()));
    BeginSequence(next);
    if (slots) next->slot = slots->Allocate();
    TakeSharedPages(next);
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

// Pages for the positions up to `positions`, after those that no later row will see have been given back.
bool Engine::GrowPages(Sequence* s, int64_t positions) {
  for (int group = 0; group < caches_[0]->groups(); ++group) {
    PagePool& pool = caches_[0]->pool(group);
    std::vector<int32_t>& pages = s->pages[static_cast<size_t>(group)];
    const int64_t window = caches_[0]->window(group);
    const int64_t left = window > 0 ? std::max<int64_t>(0, s->computed - window + 1) / kPageTokens : 0;
    for (int64_t i = std::min(left, static_cast<int64_t>(pages.size())); i-- > 0 && pages[static_cast<size_t>(i)] >= 0;)
      pool.Release(std::exchange(pages[static_cast<size_t>(i)], -1));
    while (static_cast<int64_t>(pages.size()) * kPageTokens < positions) {
      const int32_t page = pool.Allocate();
      if (page < 0) return false;
      pages.push_back(page);
    }
  }
  return true;
}

void Engine::ReleasePages(Sequence* s) {
  for (size_t group = 0; group < s->pages.size(); ++group) {
    for (const int32_t page : s->pages[group])
      if (page >= 0) caches_[0]->pool(static_cast<int>(group)).Release(page);
    s->pages[group].clear();
  }
}

void Engine::GiveBackPages(Sequence* sequence) {
  ReleasePages(sequence);
  for (const int32_t page : sequence->end_pages) caches_[0]->ends()->pool(0).Release(page);
  if (sequence->slot >= 0) caches_[0]->slots()->Release(sequence->slot);
  sequence->slot = -1;
  sequence->end_pages.clear();
}

void Engine::PreemptLast() {
  auto sequence = std::move(running_.back());
  running_.pop_back();
  GiveBackPages(sequence.get());
  waiting_.push_front(std::move(sequence));
}

std::vector<Engine::Chunk> Engine::Schedule() {
  std::vector<Chunk> chunks;
  int64_t rows = 0, logits = 0;
  const auto take = [&](bool decoding) {
    for (size_t i = 0; i < running_.size() && rows < batch_rows_; ++i) {
      Sequence* s = running_[i].get();
      const int64_t left = static_cast<int64_t>(s->tokens.size()) - s->computed;
      if ((left == 1) != decoding) continue;
      int64_t size = std::min(left, batch_rows_ - rows);
      if (caches_[0]->ends()) size = std::min(size, kPageTokens);
      if (s->scoring())
        size = std::min(size, logits_rows_ - logits);
      else if (size == left && logits >= logits_rows_)
        --size;  // the last row would need logits
      if (size <= 0) continue;
      if (!GrowPages(s, s->computed + size)) {
        // Only the youngest is sent back, be it this one; rows already chosen for it are dropped.
        if (i + 1 < running_.size()) {
          PreemptLast();
          std::erase_if(chunks, [&](const Chunk& c) {
            return std::none_of(running_.begin(), running_.end(), [&](const auto& r) { return r.get() == c.sequence; });
          });
          --i;
        } else if (running_.size() > 1) {
          PreemptLast();
        }
        continue;
      }
      chunks.push_back({s, s->computed, size});
      rows += size;
      logits += s->scoring() ? size : size == left ? 1 : 0;
    }
  };
  take(true);
  take(false);
  return chunks;
}

Status Engine::Step() {
  if (StopRequested()) return Fail(Code::kCancelled, "stopped");
  RestartOutgrown();
  Admit();
  const std::vector<Chunk> chunks = Schedule();
  if (chunks.empty()) {
    NIBBLE_CHECK(running_.size() <= 1, "no rows for {} sequences", running_.size());
    if (!running_.empty()) End(running_.front().get(), Finish::kContext);
    return {};
  }
  std::vector<int32_t> ids, positions, rows_sequence, lengths, prompts, logits_rows, slots;
  std::vector<std::span<const int32_t>> tables, end_pages;
  std::vector<std::pair<size_t, int64_t>> wanted;  // chunk, position of each logits row
  for (size_t c = 0; c < chunks.size(); ++c) {
    const Sequence& s = *chunks[c].sequence;
    const int64_t end = chunks[c].begin + chunks[c].size;
    for (int64_t position = chunks[c].begin; position < end; ++position) {
      if (s.scoring() || position + 1 == static_cast<int64_t>(s.tokens.size())) {
        logits_rows.push_back(static_cast<int32_t>(ids.size()));
        wanted.emplace_back(c, position);
      }
      ids.push_back(s.tokens[static_cast<size_t>(position)]);
      positions.push_back(static_cast<int32_t>(position));
      rows_sequence.push_back(static_cast<int32_t>(c));
    }
    end_pages.emplace_back(s.end_pages);
    lengths.push_back(static_cast<int32_t>(s.tokens.size()));
    prompts.push_back(static_cast<int32_t>(s.prompt_size));
    slots.push_back(s.slot);
  }
  for (int group = 0; group < caches_[0]->groups(); ++group)
    for (const Chunk& chunk : chunks) tables.emplace_back(chunk.sequence->pages[static_cast<size_t>(group)]);
  const StepInput step{ids, positions, rows_sequence, tables, end_pages, lengths, prompts, logits_rows, slots};
  const float* logits = nullptr;
  rank_team_->Run([&](int rank) {
    StepInput mine = step;
    if (rank != 0) mine.logits_rows = {};  // every rank has the whole head; one computes it
    const float* result = executors_[static_cast<size_t>(rank)]->Run(mine);
    if (rank == 0) logits = result;
  });
  for (const Chunk& chunk : chunks) {
    chunk.sequence->computed += chunk.size;
    PublishPages(chunk.sequence);
  }
  std::vector<SequenceId> owners;
  for (const Chunk& chunk : chunks) owners.push_back(chunk.sequence->id);
  delivering_ = true;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const size_t chunk = wanted[i].first;
    if (std::find(cancelled_.begin(), cancelled_.end(), owners[chunk]) != cancelled_.end()) continue;
    Deliver(chunks[chunk].sequence, wanted[i].second, logits + static_cast<int64_t>(i) * vocab());
  }
  delivering_ = false;
  for (const SequenceId id : std::exchange(cancelled_, {})) Cancel(id);
  return {};
}

void Engine::PublishPages(Sequence* s) {
  PagedCache& cache = *caches_[0];
  if (!share_prefixes_ || s->scoring() || !cache.shares_prefixes()) return;
  if (AnglesOf(*s) != s->angles) return;
  for (; (s->published + 1) * kPageTokens <= s->computed; ++s->published) {
    const std::span<const int32_t> tokens(s->tokens.data() + s->published * kPageTokens, static_cast<size_t>(kPageTokens));
    s->page_hash = PagePool::ChainHash(s->page_hash, tokens);
    for (int group = 0; group < cache.groups(); ++group) {
      const int32_t page = s->pages[static_cast<size_t>(group)][static_cast<size_t>(s->published)];
      if (page >= 0) cache.pool(group).Publish(page, s->page_hash, tokens);
    }
  }
}

// `s` may be gone afterwards; a chunk's sequence gets at most one call that ends it, and that is its last.
void Engine::Deliver(Sequence* s, int64_t position, const float* logits) {
  if (s->scoring()) {
    s->request.on_logits(position, logits);
    if (position + 1 == s->prompt_size) End(s, Finish::kLength);
    return;
  }
  const auto generated = static_cast<int64_t>(s->tokens.size()) - s->prompt_size;
  if (s->request.max_tokens == 0) return End(s, Finish::kLength);
  const int32_t token = s->sampler.Next({logits, static_cast<size_t>(vocab())}, s->tokens);
  if (std::find(s->request.eos.begin(), s->request.eos.end(), token) != s->request.eos.end()) return End(s, Finish::kEos);
  s->tokens.push_back(token);
  if (s->request.on_token && !s->request.on_token(token)) return End(s, Finish::kStopped);
  if (s->request.max_tokens > 0 && generated + 1 >= s->request.max_tokens) return End(s, Finish::kLength);
  if (static_cast<int64_t>(s->tokens.size()) > context_) return End(s, Finish::kContext);
}

Status Engine::RunUntilIdle() {
  while (!idle()) NIBBLE_RETURN_IF_ERROR(Step());
  return {};
}

}  // namespace nibble
