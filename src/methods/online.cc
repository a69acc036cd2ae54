// SPDX-License-Identifier: Apache-2.0
#include "methods/online.h"

#include "base/nearest_names.h"
#include "methods/registry.h"
#include "tensors/dtype.h"

namespace nibble {
namespace {

class OnlineConfig : public QuantizationConfig {
 public:
  OnlineConfig(const OnlineFormat& format, std::unique_ptr<QuantizationConfig> source)
      : format_(format), source_(std::move(source)) {}
  std::string_view name() const override { return "online"; }
  std::string Describe() const override { return fmt::format("{} while loading", format_.name); }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    return source_->GetQuantMethod(layer);
  }
  Result<std::shared_ptr<const MoeMethod>> GetMoeMethod(const LayerQuery& layer) const override {
    return source_->GetMoeMethod(layer);
  }
  Result<std::shared_ptr<const KvCacheMethod>> GetKvCacheMethod(const LayerQuery& layer) const override {
    return source_->GetKvCacheMethod(layer);
  }
  double EstimateBits(const LayerQuery& layer) const override { return MemoryBits(layer); }
  double MemoryBits(const LayerQuery& layer) const override {
    const bool quantized = layer.kind == LayerKind::kLinear || layer.kind == LayerKind::kExpert;
    return quantized ? OnlineBits(format_, 4096) : 0;
  }
  std::vector<std::string_view> ignored_suffixes() const override { return source_->ignored_suffixes(); }

 private:
  const OnlineFormat& format_;
  std::unique_ptr<QuantizationConfig> source_;
};

}  // namespace

std::unique_ptr<QuantizationConfig> MakeOnlineConfig(const OnlineFormat& format, std::unique_ptr<QuantizationConfig> source) {
  return std::make_unique<OnlineConfig>(format, std::move(source));
}

double OnlineBits(const OnlineFormat& format, int64_t k) {
  if (format.rule == OnlineFormat::kGgml) {
    const Format& stored = *FindFormat(format.stored);
    return 8.0 * stored.block_bytes / stored.block_elems;
  }
  return format.bits + 8.0 * DTypeBytes(format.scale) / static_cast<double>(format.block ? format.block : k);
}

Result<const OnlineFormat*> ChooseOnlineFormat(const std::string& name, const QuantizationConfig& own, const std::string& path) {
  const QuantizationEntry* method = FindQuantization(name);
  const bool is_float = own.name() == "unquantized", container = own.name() == "gguf";
  if (method && method->name == own.name()) return static_cast<const OnlineFormat*>(nullptr);
  const OnlineFormat* format = FindOnlineFormat(name);
  if (!is_float && !container && (method || format))
    return Usage(
        "--quantization {}: {} is quantized already, by {} ({}); leave the option out, or convert the model to float first", name,
        path, own.name(), own.Describe());
  if (format) return format;
  if (method)
    return Usage("--quantization {}: {} holds {} weights; {} is a method of files and nothing is made so while loading", name, path,
                 own.Describe(), method->name);
  std::vector<std::string_view> names;
  for (const OnlineFormat& row : OnlineFormats()) names.push_back(row.name);
  return Usage("--quantization {}: unknown; nearest: {}; 'nibble methods' lists all", name, NearestNames(name, names));
}

}  // namespace nibble
