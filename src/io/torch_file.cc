// SPDX-License-Identifier: Apache-2.0
#include "io/torch_file.h"

#include <algorithm>
#include <optional>

#include "io/json.h"
#include "io/pickle.h"
#include "io/zip.h"

namespace nibble {
namespace {

using Kind = PickleValue::Kind;
using Members = std::map<std::string, std::span<const std::byte>>;

constexpr size_t kMaxPickle = size_t{64} << 20;
constexpr int kMaxDepth = 32;
// Values read, those counted again that several others hold: honest files hold theirs once, or few times.
constexpr int64_t kMaxReads = int64_t{1} << 22;

struct StorageType {
  std::string_view name;
  DType dtype;
};
constexpr StorageType kStorages[] = {{"torch.DoubleStorage", DType::kF64},
                                     {"torch.FloatStorage", DType::kF32},
                                     {"torch.HalfStorage", DType::kF16},
                                     {"torch.BFloat16Storage", DType::kBF16},
                                     {"torch.LongStorage", DType::kI64},
                                     {"torch.IntStorage", DType::kI32},
                                     {"torch.ShortStorage", DType::kI16},
                                     {"torch.CharStorage", DType::kI8},
                                     {"torch.ByteStorage", DType::kU8},
                                     {"torch.BoolStorage", DType::kBool},
                                     {"torch.storage.UntypedStorage", DType::kNone},
                                     {"torch.UntypedStorage", DType::kNone}};

// Whatever a checkpoint may name. Classes of torchao are only names here: their attributes are read, no code of theirs is known.
constexpr std::string_view kNames[] = {"collections.OrderedDict",
                                       "torch._utils._rebuild_tensor_v2",
                                       "torch._utils._rebuild_tensor_v3",
                                       "torch._utils._rebuild_parameter",
                                       "torch._utils._rebuild_wrapper_subclass",
                                       "torch._tensor._rebuild_from_type_v2",
                                       "torch.serialization._get_layout",
                                       "torch.device",
                                       "torch.Size",
                                       "torch.Tensor",
                                       "torch.nn.parameter.Parameter"};
constexpr std::string_view kTorchaoClasses[] = {"Int8Tensor",
                                                "IntxUnpackedToInt8Tensor",
                                                "Int4Tensor",
                                                "Int4PlainInt32Tensor",
                                                "Int4TilePackedTo4dTensor",
                                                "Float8Tensor",
                                                "PrototypeFloat8Tensor",
                                                "MXTensor",
                                                "NVFP4Tensor",
                                                "QuantizeTensorToInt8Kwargs",
                                                "QuantizeTensorToFloat8Kwargs",
                                                "QuantizeTensorToMXKwargs",
                                                "QuantizeTensorToNVFP4Kwargs",
                                                "Float8MMConfig",
                                                "PerRow",
                                                "PerTensor",
                                                "PerGroup",
                                                "PerBlock",
                                                "PerAxis",
                                                "PerToken",
                                                "MappingType",
                                                "KernelPreference",
                                                "ScaleCalculationMode",
                                                "IntxUnpackedToInt8TensorActivationQuantization"};

std::string_view LastName(std::string_view name) { return name.substr(name.find_last_of('.') + 1); }

// "torch.bfloat16"; int4 and its like are dtypes of torch that no tensor here has, but attributes name them.
bool IsTorchDType(std::string_view name) {
  if (!name.starts_with("torch.")) return false;
  name.remove_prefix(6);
  for (const std::string_view kind : {"int", "uint"})
    if (name.starts_with(kind) && name.size() == kind.size() + 1 && name.back() >= '1' && name.back() <= '7') return true;
  return name.starts_with("float4_") || ParseDType(name).has_value();
}

bool Allowed(std::string_view name) {
  const auto is = [&](std::string_view listed) { return name == listed; };
  if (std::any_of(std::begin(kNames), std::end(kNames), is) || IsTorchDType(name)) return true;
  if (std::any_of(std::begin(kStorages), std::end(kStorages), [&](const StorageType& s) { return s.name == name; })) return true;
  if (!name.starts_with("torchao.")) return false;
  return std::find(std::begin(kTorchaoClasses), std::end(kTorchaoClasses), LastName(name)) != std::end(kTorchaoClasses);
}

// The pickle of one file with its storages.
class Reader {
 public:
  Reader(Pickle pickle, const Members& members, std::string prefix, const std::string& where)
      : pickle_(std::move(pickle)), members_(members), prefix_(std::move(prefix)), where_(where) {}

  Result<TorchFile> Run() {
    const PickleValue* dict = &pickle_.at(pickle_.root);
    // Trainers wrap the state dict.
    for (const char* key : {"state_dict", "model"}) {
      const PickleValue* inner = Item(*dict, key);
      if (inner && inner->kind == Kind::kDict) dict = inner;
    }
    if (dict->kind != Kind::kDict) return Corrupt("{}: the pickle holds no dict of tensors", where_);
    for (size_t i = 0; i + 1 < dict->items.size(); i += 2) {
      const PickleValue &key = At(dict->items[i]), &value = At(dict->items[i + 1]);
      if (key.kind != Kind::kString) continue;
      NIBBLE_RETURN_IF_ERROR(value.kind == Kind::kDict ? AddModule(key.text, value, 0) : Add(key.text, value));
    }
    if (reads_ > kMaxReads) return Corrupt("{}: its values hold each other so often that they never end", where_);
    return std::move(out_);
  }

 private:
  const PickleValue& At(uint32_t index) const { return pickle_.at(index); }
  const PickleValue* Item(const PickleValue& dict, std::string_view key) const {
    if (dict.kind != Kind::kDict) return nullptr;
    for (size_t i = 0; i + 1 < dict.items.size(); i += 2)
      if (At(dict.items[i]).kind == Kind::kString && At(dict.items[i]).text == key) return &At(dict.items[i + 1]);
    return nullptr;
  }
  // "torch._utils._rebuild_tensor_v2" of a call, or nothing.
  std::string_view Callee(const PickleValue& value) const {
    if (value.kind != Kind::kCall) return {};
    const PickleValue& callee = At(value.items[0]);
    return callee.kind == Kind::kGlobal ? std::string_view(callee.text) : std::string_view();
  }
  const PickleValue& Arguments(const PickleValue& call) const { return At(call.items[1]); }  // a tuple, the pickle was checked
  tl::unexpected<Error> Bad(std::string_view name, std::string_view what) const {
    return Corrupt("{}: tensor \"{}\": {}", where_, name, what);
  }

  // A module with a dict of its own (HQQ): its tensors, and as JSON the numbers beside them.
  Status AddModule(const std::string& module, const PickleValue& dict, int depth) {
    if (depth > kMaxDepth) return {};
    const size_t before = out_.entries.size();
    Json data = Json::object();
    for (size_t i = 0; i + 1 < dict.items.size() && ++reads_ <= kMaxReads; i += 2) {
      const PickleValue &key = At(dict.items[i]), &value = At(dict.items[i + 1]);
      if (key.kind != Kind::kString) continue;
      if (value.kind == Kind::kDict) {
        NIBBLE_RETURN_IF_ERROR(AddModule(module + "." + key.text, value, depth + 1));
      } else if (const std::string_view callee = Callee(value); IsTensor(value) || callee == "torch._utils._rebuild_parameter" ||
                                                                callee == "torch._tensor._rebuild_from_type_v2") {
        NIBBLE_RETURN_IF_ERROR(Add(module + "." + key.text, value));
      } else {
        data[key.text] = ToJson(value, 0);
      }
    }
    if (out_.entries.size() == before || data.empty()) return {};
    const Json json = {{"_type", "dict"}, {"_data", std::move(data)}};
    out_.metadata[module] = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    return {};
  }

  Status Add(const std::string& name, const PickleValue& value) {
    const std::string_view callee = Callee(value);
    if (callee == "torch._utils._rebuild_parameter") {
      const PickleValue& arguments = Arguments(value);
      if (arguments.items.empty() || Callee(At(arguments.items[0])) == callee) return Bad(name, "a parameter without a tensor");
      return Add(name, At(arguments.items[0]));
    }
    if (callee == "torch._tensor._rebuild_from_type_v2") return AddTyped(name, value);
    if (!IsTensor(value)) return {};
    NIBBLE_TRY(const TensorView view, Tensor(name, value));
    if (view) out_.entries.push_back({name, view});
    return {};
  }
  bool IsTensor(const PickleValue& value) const {
    const std::string_view callee = Callee(value);
    return callee == "torch._utils._rebuild_tensor_v2" || callee == "torch._utils._rebuild_tensor_v3";
  }

  // (function, class, arguments, state): a tensor subclass, or a plain tensor with attributes.
  Status AddTyped(const std::string& name, const PickleValue& value) {
    const PickleValue& outer = Arguments(value);
    if (outer.items.size() < 4 || At(outer.items[0]).kind != Kind::kGlobal || At(outer.items[1]).kind != Kind::kGlobal)
      return Bad(name, "a typed tensor without class and state");
    if (At(outer.items[0]).text == "torch._utils._rebuild_wrapper_subclass") {
      return AddSubclass(name, LastName(At(outer.items[1]).text), At(outer.items[2]), At(outer.items[3]));
    }
    const PickleValue call{.kind = Kind::kCall, .items = {outer.items[0], outer.items[2]}};
    if (At(outer.items[2]).kind != Kind::kTuple || !IsTensor(call)) return Bad(name, "a typed tensor of an unknown kind");
    NIBBLE_TRY(const TensorView view, Tensor(name, call));
    if (view) out_.entries.push_back({name, view});
    return {};
  }

  Status AddSubclass(const std::string& name, std::string_view type, const PickleValue& arguments, const PickleValue& state) {
    if (state.kind != Kind::kDict) return Bad(name, "a tensor subclass without a dict of attributes");
    const size_t dot = name.find_last_of('.');
    const std::string module = dot == std::string::npos ? "" : name.substr(0, dot + 1);
    const std::string base = module + "_" + name.substr(module.size()) + "_";
    Json data = Json::object(), names = Json::array();
    // (class, dtype, size, stride ...): the dtype that the tensor pretends to have.
    if (arguments.kind == Kind::kTuple && arguments.items.size() > 1) data["dtype"] = ToJson(At(arguments.items[1]), 0);
    for (size_t i = 0; i + 1 < state.items.size(); i += 2) {
      const PickleValue &key = At(state.items[i]), &attribute = At(state.items[i + 1]);
      if (key.kind != Kind::kString) continue;
      if (IsTensor(attribute)) {
        NIBBLE_TRY(const TensorView view, Tensor(name, attribute));
        if (!view) continue;
        out_.entries.push_back({base + key.text, view});
        names.push_back(key.text);
      } else {
        data[key.text] = ToJson(attribute, 0);
      }
    }
    const Json json = {{"_type", type}, {"_data", std::move(data)}, {"_tensor_data_names", std::move(names)}};
    out_.metadata[name] = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    return {};
  }

  // Attributes as torchao's own encoder writes them: typed values are {"_type", "_data"}. What has no JSON is null.
  Json ToJson(const PickleValue& value, int depth) {
    if (depth > kMaxDepth || ++reads_ > kMaxReads) return nullptr;
    switch (value.kind) {
      case Kind::kBool: return value.integer != 0;
      case Kind::kInt: return value.integer;
      case Kind::kFloat: return value.number;
      case Kind::kString: return value.text;
      case Kind::kGlobal:
        if (IsTorchDType(value.text)) return Json{{"_type", "torch.dtype"}, {"_data", LastName(value.text)}};
        return nullptr;
      case Kind::kList:
      case Kind::kTuple: {
        Json list = Json::array();
        for (const uint32_t item : value.items) list.push_back(ToJson(At(item), depth + 1));
        return list;
      }
      case Kind::kDict: {
        Json dict = Json::object();
        for (size_t i = 0; i + 1 < value.items.size(); i += 2)
          if (At(value.items[i]).kind == Kind::kString) dict[At(value.items[i]).text] = ToJson(At(value.items[i + 1]), depth + 1);
        return dict;
      }
      case Kind::kCall: return ObjectToJson(value, depth);
      default: return nullptr;
    }
  }
  // A data class has a state; an enumeration one argument, its value.
  Json ObjectToJson(const PickleValue& value, int depth) {
    const std::string_view callee = Callee(value);
    if (!callee.starts_with("torchao.") && callee != "torch.Size") return nullptr;
    const PickleValue& arguments = Arguments(value);
    Json data;
    if (value.items.size() > 2) {
      data = ToJson(At(value.items.back()), depth + 1);
    } else if (arguments.items.size() == 1) {
      data = ToJson(At(arguments.items[0]), depth + 1);
    } else {
      data = ToJson(arguments, depth + 1);
    }
    if (callee == "torch.Size") return data;
    return Json{{"_type", LastName(callee)}, {"_data", std::move(data)}};
  }

  std::optional<std::vector<int64_t>> Ints(const PickleValue& value) const {
    if (value.kind != Kind::kTuple || value.items.size() > Shape::kMaxRank) return std::nullopt;
    std::vector<int64_t> ints;
    for (const uint32_t item : value.items) {
      if (At(item).kind != Kind::kInt || At(item).integer < 0) return std::nullopt;
      ints.push_back(At(item).integer);
    }
    return ints;
  }

  // ('storage', type, key, location, elements) -> its bytes and, but for untyped storages, its dtype.
  struct Storage {
    std::span<const std::byte> bytes;
    DType dtype = DType::kNone;
  };
  std::optional<Storage> StorageOf(const PickleValue& value) const {
    if (value.kind != Kind::kPersistent) return std::nullopt;
    const PickleValue& id = At(value.items[0]);
    if (id.kind != Kind::kTuple || id.items.size() < 3 || At(id.items[1]).kind != Kind::kGlobal ||
        At(id.items[2]).kind != Kind::kString)
      return std::nullopt;
    const auto type = std::find_if(std::begin(kStorages), std::end(kStorages),
                                   [&](const StorageType& s) { return s.name == At(id.items[1]).text; });
    const auto member = members_.find(prefix_ + "data/" + At(id.items[2]).text);
    if (type == std::end(kStorages) || member == members_.end()) return std::nullopt;
    return Storage{member->second, type->dtype};
  }

  // Empty for a tensor without elements, which nobody misses. v2: (storage, offset, size, stride, requires_grad, hooks); v3 has the
  // dtype after these.
  Result<TensorView> Tensor(const std::string& name, const PickleValue& call) const {
    const bool v3 = Callee(call).ends_with("v3");
    const PickleValue& arguments = Arguments(call);
    if (arguments.items.size() < (v3 ? 7u : 4u)) return Bad(name, "too few arguments of a tensor");
    auto storage = StorageOf(At(arguments.items[0]));
    const PickleValue& offset = At(arguments.items[1]);
    const auto size = Ints(At(arguments.items[2])), stride = Ints(At(arguments.items[3]));
    if (!storage) return Bad(name, "its storage is not in the file");
    if (v3) {
      const PickleValue& dtype = At(arguments.items[6]);
      const auto parsed = dtype.kind == Kind::kGlobal ? ParseDType(LastName(dtype.text)) : std::nullopt;
      if (!parsed) return Unsupported("{}: tensor \"{}\": dtype \"{}\"", where_, name, dtype.text);
      storage->dtype = *parsed;
    }
    if (storage->dtype == DType::kNone || !size || !stride || size->size() != stride->size() || offset.kind != Kind::kInt ||
        offset.integer < 0)
      return Bad(name, "dtype, size or stride of a tensor are not readable");
    // The last element that it has must lie inside.
    __int128 last = offset.integer;
    bool empty = false;
    for (size_t i = 0; i < size->size(); ++i) {
      empty |= (*size)[i] == 0;
      last += static_cast<__int128>(std::max<int64_t>((*size)[i] - 1, 0)) * (*stride)[i];
    }
    const auto elements = static_cast<__int128>(storage->bytes.size()) / DTypeBytes(storage->dtype);
    if (empty) return TensorView();
    if (last >= elements) return Bad(name, "it reaches beyond its storage");
    __int128 count = 1;
    for (const int64_t extent : *size) count = std::min<__int128>(count * extent, static_cast<__int128>(INT64_MAX) / 64);
    if (count > elements) return Bad(name, "its elements overlap");
    TensorView view(storage->bytes.data() + offset.integer * DTypeBytes(storage->dtype), storage->dtype,
                    Shape(std::span<const int64_t>(*size)));
    std::copy(stride->begin(), stride->end(), view.stride.begin());
    return view;
  }

  Pickle pickle_;
  const Members& members_;
  std::string prefix_;
  const std::string& where_;
  int64_t reads_ = 0;
  TorchFile out_;
};

}  // namespace

Result<TorchFile> ParseTorchFile(std::span<const std::byte> bytes, const std::string& where) {
  if (bytes.size() < 4 || std::to_integer<char>(bytes[0]) != 'P' || std::to_integer<char>(bytes[1]) != 'K')
    return Unsupported(
        "{}: not a ZIP archive: the file format of PyTorch before 1.6, or no PyTorch file at all; load it in PyTorch and save it "
        "again, best as safetensors",
        where);
  NIBBLE_TRY(const Members members, ReadZipDirectory(bytes, where));
  // "<archive name>/data.pkl"
  const auto pickle = std::find_if(members.begin(), members.end(), [](const auto& member) {
    return member.first == "data.pkl" || member.first.ends_with("/data.pkl");
  });
  if (pickle == members.end()) return Corrupt("{}: no data.pkl in the archive: not a file of torch.save", where);
  const std::string prefix = pickle->first.substr(0, pickle->first.size() - 8);
  const auto order = members.find(prefix + "byteorder");
  if (order != members.end() && !order->second.empty() && std::to_integer<char>(order->second[0]) == 'b')
    return Unsupported("{}: a big-endian file", where);
  if (pickle->second.size() > kMaxPickle) return Corrupt("{}: a pickle of {} bytes", where, pickle->second.size());
  NIBBLE_TRY(Pickle parsed, ParsePickle(pickle->second, where + ", " + pickle->first, Allowed));
  return Reader(std::move(parsed), members, prefix, where).Run();
}

}  // namespace nibble
