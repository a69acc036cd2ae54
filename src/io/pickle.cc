// SPDX-License-Identifier: Apache-2.0
#include "io/pickle.h"

#include <bit>
#include <map>
#include <utility>

#include "base/byte_reader.h"

namespace nibble {
namespace {

using Kind = PickleValue::Kind;

// The opcodes of Python's pickletools that protocols 2 to 5 use.
enum Op : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kEmptyDict = '}',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kList = 'l',
  kEmptyList = ']',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kEmptyTuple = ')',
  kSetItems = 'u',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kProto = 0x80,
  kNewObj = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kNewObjEx = 0x92,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

constexpr size_t kMaxName = 512;  // bytes of a module or class name

class PickleParser {
 public:
  PickleParser(std::span<const std::byte> bytes, const std::string& where, PickleNameAllowed allowed)
      : reader_(bytes), where_(where), allowed_(allowed) {}

  Result<Pickle> Run() {
    for (;;) {
      at_ = reader_.position();
      const auto op = reader_.Read<uint8_t>();
      if (!op) return Bad("the pickle ends without a STOP");
      if (*op == kStop) break;
      NIBBLE_RETURN_IF_ERROR(Step(*op));
    }
    if (stack_.size() != 1 || !marks_.empty()) return Bad("the pickle ends with more or less than one value");
    out_.root = stack_[0];
    return std::move(out_);
  }

 private:
  tl::unexpected<Error> Bad(std::string_view what) const { return Corrupt("{}: byte {}: {}", where_, at_, what); }
  tl::unexpected<Error> Short() const { return Bad("the pickle is cut off"); }

  void Push(PickleValue value) {
    stack_.push_back(static_cast<uint32_t>(out_.values.size()));
    out_.values.push_back(std::move(value));
  }
  Status PushString(std::optional<std::string_view> text) {
    if (!text) return Short();
    Push({.kind = Kind::kString, .text = std::string(*text)});
    return {};
  }
  void PushInt(int64_t value) { Push({.kind = Kind::kInt, .integer = value}); }

  // Values above the innermost mark may not be reached past it.
  size_t Floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Result<uint32_t> Pop() {
    if (stack_.size() <= Floor()) return Bad("an operation finds the stack empty");
    const uint32_t top = stack_.back();
    stack_.pop_back();
    return top;
  }
  Result<std::vector<uint32_t>> PopToMark() {
    if (marks_.empty()) return Bad("an operation finds no mark");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<uint32_t> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  Result<PickleValue*> Top(Kind kind, const char* name) {
    if (stack_.size() <= Floor()) return Bad("an operation finds the stack empty");
    PickleValue* top = &out_.values[stack_.back()];
    if (top->kind == kind) return top;
    return Bad(fmt::format("an operation finds no {}", name));
  }

  // Length of 1, 4 or 8 bytes, then the text.
  template <typename Size>
  std::optional<std::string_view> Text() {
    const auto size = reader_.Read<Size>();
    if (!size) return std::nullopt;
    return reader_.ReadString(*size);
  }
  Result<std::string> Line() {
    std::string line;
    for (;;) {
      const auto c = reader_.Read<char>();
      if (!c || line.size() > kMaxName) return Short();
      if (*c == '\n') return line;
      line += *c;
    }
  }

  Status PushGlobal(const std::string& module, const std::string& name) {
    std::string full = module + "." + name;
    if (module.size() > kMaxName || name.size() > kMaxName || !allowed_(full))
      return Unsupported(
          "{}: byte {}: the pickle asks for \"{}\", which is not on the list of names that checkpoints need; nothing of it was "
          "executed. If it holds plain tensors, load it in PyTorch once and save it as safetensors",
          where_, at_, full.substr(0, 2 * kMaxName));
    Push({.kind = Kind::kGlobal, .text = std::move(full)});
    return {};
  }

  Status Call() {
    NIBBLE_TRY(const uint32_t arguments, Pop());
    NIBBLE_TRY(const uint32_t callable, Pop());
    if (out_.values[arguments].kind != Kind::kTuple) return Bad("the arguments of a call are no tuple");
    const PickleValue& target = out_.values[callable];
    if (target.kind == Kind::kGlobal && target.text == "collections.OrderedDict" && out_.values[arguments].items.empty()) {
      Push({.kind = Kind::kDict});
    } else {
      Push({.kind = Kind::kCall, .items = {callable, arguments}});
    }
    return {};
  }
  // The state of a dict (module metadata) says nothing about tensors.
  Status Build() {
    NIBBLE_TRY(const uint32_t state, Pop());
    if (stack_.size() <= Floor()) return Bad("an operation finds the stack empty");
    PickleValue& top = out_.values[stack_.back()];
    if (top.kind == Kind::kCall) top.items.push_back(state);
    return {};
  }

  Status PushTuple(size_t count) {
    PickleValue tuple{.kind = Kind::kTuple};
    for (size_t i = 0; i < count; ++i) {
      NIBBLE_TRY(const uint32_t item, Pop());
      tuple.items.insert(tuple.items.begin(), item);
    }
    Push(std::move(tuple));
    return {};
  }
  Status Extend(Kind kind, const char* name, std::vector<uint32_t> items) {
    NIBBLE_TRY(PickleValue* const top, Top(kind, name));
    if (kind == Kind::kDict && items.size() % 2 != 0) return Bad("a dict gets a key without a value");
    top->items.insert(top->items.end(), items.begin(), items.end());
    return {};
  }
  Status ExtendFromMark(Kind kind, const char* name) {
    NIBBLE_TRY(std::vector<uint32_t> items, PopToMark());
    return Extend(kind, name, std::move(items));
  }
  Status PushFromMark(Kind kind) {
    NIBBLE_TRY(std::vector<uint32_t> items, PopToMark());
    if (kind == Kind::kDict && items.size() % 2 != 0) return Bad("a dict gets a key without a value");
    Push({.kind = kind, .items = std::move(items)});
    return {};
  }

  template <typename Index>
  Status Get() {
    const auto index = reader_.Read<Index>();
    if (!index) return Short();
    const auto found = memo_.find(*index);
    if (found == memo_.end()) return Bad(fmt::format("memo {} was never set", *index));
    stack_.push_back(found->second);
    return {};
  }
  Status Put(std::optional<uint32_t> index) {
    if (!index) return Short();
    if (stack_.size() <= Floor()) return Bad("an operation finds the stack empty");
    memo_[*index] = stack_.back();
    return {};
  }

  // Little-endian two's complement of any length; only those of 64 bits are numbers here.
  Status PushLong(std::optional<std::span<const std::byte>> bytes) {
    if (!bytes) return Short();
    if (bytes->size() > 8) return Unsupported("{}: byte {}: an integer of {} bytes", where_, at_, bytes->size());
    uint64_t value = !bytes->empty() && std::to_integer<int>(bytes->back()) >= 128 ? ~uint64_t{0} : 0;
    for (size_t i = bytes->size(); i-- > 0;) value = value << 8 | std::to_integer<uint64_t>((*bytes)[i]);
    PushInt(static_cast<int64_t>(value));
    return {};
  }
  template <typename T>
  Status PushNumber() {
    const auto value = reader_.Read<T>();
    if (!value) return Short();
    PushInt(*value);
    return {};
  }
  Status PushFloat() {  // big-endian
    const auto bytes = reader_.ReadBytes(8);
    if (!bytes) return Short();
    uint64_t bits = 0;
    for (const std::byte b : *bytes) bits = bits << 8 | std::to_integer<uint64_t>(b);
    Push({.kind = Kind::kFloat, .number = std::bit_cast<double>(bits)});
    return {};
  }

  Status Skip(uint64_t size) {
    if (!reader_.ReadBytes(size)) return Short();
    return {};
  }
  Status AppendOne() {
    NIBBLE_TRY(const uint32_t item, Pop());
    return Extend(Kind::kList, "list", {item});
  }
  Status SetOne() {
    NIBBLE_TRY(const uint32_t value, Pop());
    NIBBLE_TRY(const uint32_t key, Pop());
    return Extend(Kind::kDict, "dict", {key, value});
  }
  Status GlobalFromStack() {
    NIBBLE_TRY(const uint32_t name, Pop());
    NIBBLE_TRY(const uint32_t module, Pop());
    if (out_.values[name].kind != Kind::kString || out_.values[module].kind != Kind::kString) return Bad("a name is no string");
    return PushGlobal(std::string(out_.values[module].text), std::string(out_.values[name].text));
  }
  Status GlobalFromLines() {
    NIBBLE_TRY(const std::string module, Line());
    NIBBLE_TRY(const std::string name, Line());
    return PushGlobal(module, name);
  }
  Status Persistent() {
    NIBBLE_TRY(const uint32_t id, Pop());
    Push({.kind = Kind::kPersistent, .items = {id}});
    return {};
  }
  Status Duplicate() {
    if (stack_.size() <= Floor()) return Bad("an operation finds the stack empty");
    stack_.push_back(stack_.back());
    return {};
  }
  Status Drop() {
    NIBBLE_RETURN_IF_ERROR(Pop());
    return {};
  }

  Status Step(uint8_t op) {
    switch (op) {
      case kProto: return Skip(1);
      case kFrame: return Skip(8);
      case kMark: marks_.push_back(stack_.size()); return {};
      case kPop: return Drop();
      case kPopMark: NIBBLE_RETURN_IF_ERROR(PopToMark()); return {};
      case kDup: return Duplicate();
      case kNone: Push({}); return {};
      case kNewTrue:
      case kNewFalse: Push({.kind = Kind::kBool, .integer = op == kNewTrue}); return {};
      case kBinInt: return PushNumber<int32_t>();
      case kBinInt1: return PushNumber<uint8_t>();
      case kBinInt2: return PushNumber<uint16_t>();
      case kLong1: {
        const auto size = reader_.Read<uint8_t>();
        return size ? PushLong(reader_.ReadBytes(*size)) : Short();
      }
      case kLong4: {
        const auto size = reader_.Read<uint32_t>();
        return size ? PushLong(reader_.ReadBytes(*size)) : Short();
      }
      case kBinFloat: return PushFloat();
      case kShortBinString:
      case kShortBinBytes:
      case kShortBinUnicode: return PushString(Text<uint8_t>());
      case kBinString:
      case kBinBytes:
      case kBinUnicode: return PushString(Text<uint32_t>());
      case kBinBytes8:
      case kBinUnicode8: return PushString(Text<uint64_t>());
      default: return StepOnContainers(op);
    }
  }
  Status StepOnContainers(uint8_t op) {
    switch (op) {
      case kEmptyList:
      case kEmptySet: Push({.kind = Kind::kList}); return {};
      case kEmptyDict: Push({.kind = Kind::kDict}); return {};
      case kEmptyTuple: return PushTuple(0);
      case kTuple1: return PushTuple(1);
      case kTuple2: return PushTuple(2);
      case kTuple3: return PushTuple(3);
      case kTuple: return PushFromMark(Kind::kTuple);
      case kList:
      case kFrozenSet: return PushFromMark(Kind::kList);
      case kDict: return PushFromMark(Kind::kDict);
      case kAppend: return AppendOne();
      case kAppends:
      case kAddItems: return ExtendFromMark(Kind::kList, "list");
      case kSetItem: return SetOne();
      case kSetItems: return ExtendFromMark(Kind::kDict, "dict");
      case kGlobal: return GlobalFromLines();
      case kStackGlobal: return GlobalFromStack();
      case kReduce:
      case kNewObj: return Call();
      case kNewObjEx: {  // keyword arguments become state
        NIBBLE_TRY(const uint32_t keywords, Pop());
        NIBBLE_RETURN_IF_ERROR(Call());
        stack_.push_back(keywords);
        return Build();
      }
      case kBuild: return Build();
      case kBinPersId: return Persistent();
      case kBinGet: return Get<uint8_t>();
      case kLongBinGet: return Get<uint32_t>();
      case kBinPut: return Put(reader_.Read<uint8_t>());
      case kLongBinPut: return Put(reader_.Read<uint32_t>());
      case kMemoize: return Put(static_cast<uint32_t>(memo_.size()));
      default: return Unsupported("{}: byte {}: pickle opcode {:#04x} is not readable (protocols 2 to 5 are)", where_, at_, op);
    }
  }

  ByteReader reader_;
  const std::string& where_;
  PickleNameAllowed allowed_;
  Pickle out_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;
  std::map<uint32_t, uint32_t> memo_;
  size_t at_ = 0;
};

}  // namespace

Result<Pickle> ParsePickle(std::span<const std::byte> bytes, const std::string& where, PickleNameAllowed allowed) {
  return PickleParser(bytes, where, allowed).Run();
}

}  // namespace nibble
