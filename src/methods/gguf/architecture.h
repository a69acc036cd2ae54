// SPDX-License-Identifier: Apache-2.0
// What GGUF calls the keys and tensors of an architecture, as data that is read in both directions: a file of arch/ has a row for
// each general.architecture of a family. The hub names are those that the family's graph (models/arch) asks for, part by part.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/json.h"
#include "methods/gguf/reader.h"

namespace nibble {

// A tensor of the file and what the hub has for it. Names without a dot are modules: "attn_q" stands for "attn_q.weight" and
// "attn_q.bias", and so do the hub's; names with one are whole tensors, and so are those of GgufName::kNegExp.
struct GgufName {
  std::string_view gguf;  // "attn_q"; of a layer without "blk.N."
  // "self_attn.q_proj"; of a layer without its prefix. "a+b+c": rows of q, then of k, then of v; "a|b": as many rows of each, one
  // after another. A '*' is the number of an expert, the first dimension of the tensor.
  std::string_view hub;
  enum Rule : uint8_t {
    kPlain,
    kPlusOne,    // the file has w + 1
    kNegExp,     // the file has -exp(w)
    kKeyRows,    // [heads, rank, nope]: the rows of keys in kv_b_proj, each head transposed
    kValueRows,  // [heads, v, rank]: its rows of values
  } rule = kPlain;

  // The last part's rows (kNumbers: of a vector or convolution; kColumns: its columns) are those of value heads of linear
  // attention, which the file has in the order of TiledHeads.
  enum Tiles : uint8_t { kNone, kRows, kNumbers, kColumns } tiles = kNone;
};

// A key "<architecture>.<gguf>" and its place in config.json ("attn_config.clip_qkv": inside an object).
struct GgufKey {
  std::string_view gguf, hub;
  enum Kind : uint8_t {
    kInt,
    kNumber,
    kBool,
    kHasTensor /* gguf is a tensor whose presence is the value; not written */
  } kind = kInt;
};

struct GgufArchitecture {
  std::string_view name;        // general.architecture
  std::string_view model_type;  // of config.json
  std::string_view hub_class;
  std::string_view layers = "model.layers";
  bool permuted = false;    // rows of q and k are in interleaved rope order
  bool layer_norm = false;  // the eps is attention.layer_norm_epsilon
  // Whether head_count, head_count_kv and feed_forward_length may differ from layer to layer; `read` makes something of it.
  bool heads_by_layer = false, kv_by_layer = false, inter_by_layer = false;
  std::vector<GgufName> globals = {}, names = {};  // before the usual ones, which they hide
  std::vector<GgufKey> keys = {};                  // beside the usual ones
  // One number of each layer, an array of the metadata (whole key) and a tensor of one element on the hub.
  std::vector<GgufName> layer_numbers = {};
  std::string_view config = "{}";                                    // JSON: what the hub's config says and the metadata does not
  std::vector<std::pair<std::string_view, int64_t>> constants = {};  // keys written, what `config` means in GGUF
  // Rows of "a+b+c" in a layer; null: those of attention, the same in all.
  Result<std::array<int64_t, 3>> (*qkv_rows)(const GgufReader&, int64_t layer) = nullptr;
  bool (*is)(const GgufReader&) = nullptr;                    // whether a file is this one of several rows of one name
  Status (*read)(const GgufReader&, Json* config) = nullptr;  // what no table says; called last
  // The other way: changes what the tables made, an object of keys without prefix, or whole after a '/'. The config has the
  // family's defaults.
  Status (*write)(const Json& config, Json* keys) = nullptr;
};

const std::vector<std::span<const GgufArchitecture>>& GgufFamilyTable();  // generated

// The first row of this name that the file fits. Null if unknown.
const GgufArchitecture* FindGgufArchitecture(const GgufReader& reader);
// The rows that may write a model_type: the first that has a tensor for everything does.
std::vector<const GgufArchitecture*> GgufRowsOf(std::string_view model_type);
// "llama, qwen2, ...": for messages.
std::string GgufArchitectureNames();

// For GgufArchitecture::read: layers slide but for each fourth, or as attention.sliding_window_pattern says.
Status EveryFourthSeesAll(const GgufReader& reader, Json* config);
// Where block_count counts the layers that predict further tokens.
Status WithoutPrediction(const GgufReader& reader, Json* config);
// Layers with a window turn by a rope of their own: a plain one of rope.freq_base_swa, `theta` where the key is missing, over
// rope.dimension_count_swa of a head's head_dim elements.
Status RopeOfWindows(const GgufReader& reader, int64_t head_dim, double theta, Json* config);

// Keys that all rows share.
std::span<const GgufKey> UsualGgufKeys();

// A tensor's name on the hub, whole: several for "a+b", with '*' for the expert.
struct HubName {
  std::vector<std::string> tensors;
  int64_t layer = 0;  // of a layer's tensor
  GgufName::Rule rule = GgufName::kPlain;
  bool experts = false;
  bool equal = false;      // as many rows of each
  bool rope_rows = false;  // rows in interleaved rope order
  GgufName::Tiles tiles = GgufName::kNone;
};
// Nullopt: no such name in this architecture.
std::optional<HubName> HubTensorName(std::string_view gguf_name, const GgufArchitecture& architecture);
// Every name that a file of so many layers may have, the preferred one first where several hold the same.
std::vector<std::string> GgufTensorNames(const GgufArchitecture& architecture, int64_t layers);

// Value heads of linear attention that share a key head stand together on the hub; llama.cpp repeats key heads as a whole, so there
// value head j of key head g of K is head j * K + g. Logical row (element) -> that of the file for `rows` rows, the last of which
// are those of the heads. By the config's linear_*; empty where both orders are the same.
std::vector<int32_t> TiledHeads(const Json& config, int64_t rows);

// Sets config["a"]["b"] for "a.b"; finds it, or null.
void SetPath(Json* config, std::string_view path, Json value);
const Json* FindPath(const Json& config, std::string_view path);

}  // namespace nibble
