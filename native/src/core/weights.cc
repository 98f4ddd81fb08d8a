#include "core/weights.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "core/checked_math.h"
#include "core/float_bits.h"
#include "cpu/float_panels.h"

namespace skein {
namespace {

constexpr size_t kChunkBytes = size_t{16} << 20;
constexpr size_t kTensorAlignment = 64;

/// Which forms of each weight the ops read.
struct Uses {
  bool rows = false;
  bool panels = false;
  const Op* expand_value = nullptr;
};

std::vector<Uses> UsesOf(const ProgramSpec& spec) {
  std::vector<Uses> uses(spec.weights.size());
  const auto of = [&](int64_t id) -> Uses& { return uses[static_cast<size_t>(id)]; };
  for (const Op& op : spec.ops) {
    for (const ExpertWeightIds& e : op.experts)
      of(e.gate).panels = of(e.up).panels = of(e.down).panels = true;
    if (op.kind == OpKind::kAbsorbKey) of(op.weight).rows = true;
    if (op.kind == OpKind::kExpandValue) of(op.weight).expand_value = &op;
    if (op.kind == OpKind::kLinear || op.kind == OpKind::kLogits || op.kind == OpKind::kEmbed)
      of(op.weight).panels = true;
  }
  return uses;
}

std::vector<float> Widen(const std::byte* data, Dtype dtype, size_t count) {
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) {
    if (dtype == Dtype::kF32) {
      std::memcpy(&out[i], data + 4 * i, 4);
    } else if (dtype == Dtype::kF8E4M3) {
      out[i] = FloatFromF8E4M3(static_cast<uint8_t>(data[i]));
    } else {
      uint16_t bits;
      std::memcpy(&bits, data + 2 * i, 2);
      out[i] = dtype == Dtype::kF16 ? FloatFromF16(bits) : FloatFromBF16(bits);
    }
  }
  return out;
}

}  // namespace

Status CheckWeightSource(const WeightSource& source, size_t* bytes) {
  const auto fail = [&](const std::string& what) {
    return Status(Code::kInvalidArgument, "weight '" + source.name + "': " + what);
  };
  if (source.shape.empty() || source.shape.size() > 2) {
    return fail("has " + std::to_string(source.shape.size()) + " dimensions, 1 or 2 are supported");
  }
  const auto* plain = std::get_if<PlainWeight>(&source.stored);
  const std::optional<Dtype> dtype = plain == nullptr ? std::nullopt : FloatDtype(plain->tensor.dtype);
  if (!dtype || source.quantize != WeightQuantization::kNone) return fail("is quantized");
  const TensorSource& tensor = plain->tensor;
  if (tensor.shape.size() != source.shape.size() ||
      (source.shape.size() == 2 && tensor.shape[1] != source.shape[1])) {
    return fail("its shape does not fit that of its tensor '" + tensor.name + "'");
  }
  if (source.first_row > tensor.shape[0] || source.shape[0] > tensor.shape[0] - source.first_row) {
    return fail("rows " + std::to_string(source.first_row) + "+" + std::to_string(source.shape[0]) +
                " are not within the " + std::to_string(tensor.shape[0]) + " of its tensor");
  }
  size_t stored_bytes = DtypeBytes(*dtype);
  for (const uint64_t dim : tensor.shape) {
    if (dim == 0 || dim > UINT32_MAX || !CheckedMul(stored_bytes, dim, &stored_bytes))
      return fail("has an impossible shape");
  }
  if (stored_bytes != tensor.size_bytes) {
    return fail("its shape needs " + std::to_string(stored_bytes) + " bytes, sizeBytes is " +
                std::to_string(tensor.size_bytes));
  }
  if (source.shape[0] == 0) return fail("has no rows");
  *bytes = stored_bytes / tensor.shape[0] * source.shape[0];
  return Status::Ok();
}

Status WeightStore::Load(const ProgramSpec& spec, const Progress& progress,
                         const std::atomic<bool>& cancelled) {
  const std::vector<Uses> uses = UsesOf(spec);
  uint64_t total = 0, done = 0;
  size_t placed_bytes = 0;
  const auto matrix = [&](size_t i) { return spec.weights[i].shape.size() == 2; };
  const auto tensor_of = [&](size_t i) -> const TensorSource& {
    return std::get<PlainWeight>(spec.weights[i].stored).tensor;
  };
  const auto view_of = [&](size_t i) {
    const WeightSource& source = spec.weights[i];
    const size_t cols = source.shape.back();
    return WeightView{.dtype = *FloatDtype(tensor_of(i).dtype),
                      .rows = matrix(i) ? static_cast<size_t>(source.shape[0]) : 1,
                      .cols = cols,
                      .partials = static_cast<uint32_t>(PartialSums(cols))};
  };
  // Where each form begins, counted from the first.
  const auto place = [&](WeightView& view, WeightLayout layout, size_t bytes) {
    view.layout = layout;
    view.data = reinterpret_cast<const void*>(placed_bytes);
    placed_bytes += RoundUp(bytes, kTensorAlignment);
  };
  for (size_t i = 0; i < spec.weights.size(); ++i) {
    size_t bytes;
    if (Status s = CheckWeightSource(spec.weights[i], &bytes); !s.ok()) return s;
    total += bytes;
    WeightView view = view_of(i);
    panels_.push_back(view), rows_.push_back(view), values_.push_back(view);
    if (!matrix(i)) continue;
    if (uses[i].rows) place(rows_[i], WeightLayout::kRows, bytes);
    if (uses[i].panels)
      place(panels_[i], WeightLayout::kFloatPanels, cpu::FloatPanelBytes(view.dtype, view.rows, view.cols));
    if (const Op* op = uses[i].expand_value; op != nullptr) {
      values_[i].rows = size_t{op->num_heads} * op->latent.value_dim;
      place(values_[i], WeightLayout::kFloatPanels,
            op->num_heads * cpu::FloatPanelBytes(view.dtype, op->latent.value_dim, view.cols));
    }
  }
  progress(0, total);
  if (Status s = MappedMemory::Allocate(placed_bytes, &memory_); !s.ok()) return s;
  const auto fix = [&](WeightView& view) {
    auto* to = memory_.data() + reinterpret_cast<size_t>(view.data);
    view.data = to;
    return to;
  };
  std::map<std::string, MappedMemory> files;
  for (size_t i = 0; i < spec.weights.size(); ++i) {
    const WeightSource& source = spec.weights[i];
    const TensorSource& tensor = tensor_of(i);
    auto [it, fresh] = files.try_emplace(tensor.file);
    if (fresh) {
      if (Status s = MappedMemory::MapFile(tensor.file, &it->second); !s.ok()) {
        return {s.code(), "weight '" + source.name + "': " + s.message()};
      }
    }
    const MappedMemory& file = it->second;
    size_t end;
    if (!CheckedAdd(tensor.offset_bytes, tensor.size_bytes, &end) || end > file.size()) {
      return {Code::kFile, "weight '" + source.name + "' needs bytes " + std::to_string(tensor.offset_bytes) +
                               "+" + std::to_string(tensor.size_bytes) + " of '" + tensor.file +
                               "', which has " + std::to_string(file.size())};
    }
    const WeightView& view = panels_[i];
    const size_t row_bytes = tensor.size_bytes / tensor.shape[0];
    const std::byte* data = file.data() + tensor.offset_bytes + row_bytes * source.first_row;
    vectors_.push_back(matrix(i) ? std::vector<float>() : Widen(data, view.dtype, view.cols));
    if (!matrix(i)) {
      progress(done += row_bytes * view.cols, total);
      continue;
    }
    std::byte *rows = fix(rows_[i]), *panels = fix(panels_[i]), *values = fix(values_[i]);
    const size_t step =
        std::max<size_t>(1, kChunkBytes / row_bytes / cpu::FloatPanelRows()) * cpu::FloatPanelRows();
    for (size_t r = 0; r < view.rows; r += step) {
      if (cancelled.load(std::memory_order_relaxed)) return {Code::kAborted, "load aborted"};
      const size_t count = std::min(step, view.rows - r);
      if (uses[i].rows) std::memcpy(rows + r * row_bytes, data + r * row_bytes, count * row_bytes);
      if (uses[i].panels) cpu::PackFloatRows(data + r * row_bytes, view.dtype, count, view.cols, r, panels);
      progress(done += count * row_bytes, total);
    }
    if (const Op* op = uses[i].expand_value; op != nullptr) {
      const LatentShape& l = op->latent;
      const size_t head_bytes = cpu::FloatPanelBytes(view.dtype, l.value_dim, view.cols);
      for (size_t head = 0; head < op->num_heads; ++head) {
        const size_t first = head * (size_t{l.nope_dim} + l.value_dim) + l.nope_dim;
        cpu::PackFloatRows(data + first * row_bytes, view.dtype, l.value_dim, view.cols, 0,
                           values + head * head_bytes);
      }
    }
  }
  return Status::Ok();
}

}  // namespace skein
