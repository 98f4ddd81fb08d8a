#include "core/weight_plan.h"

#include "core/checked_math.h"
#include "core/stored/stored_matrix.h"
#include "cpu/float_panels.h"
#include "cpu/int_panels.h"

namespace skein {
namespace {

constexpr size_t kAlignment = 64;

/// Which forms of each weight the ops read.
struct Uses {
  bool panels = false;
  bool rows = false;
  bool embed = false;
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
    if (op.kind == OpKind::kEmbed) of(op.weight).embed = true;
    if (op.kind == OpKind::kLinear || op.kind == OpKind::kLogits || op.kind == OpKind::kEmbed)
      of(op.weight).panels = true;
  }
  return uses;
}

/// Hands out places, 64-byte aligned.
class Places {
 public:
  explicit Places(WeightPlan* plan) : plan_(plan) {}

  /// kNone for no bytes.
  size_t Take(size_t bytes) {
    if (bytes == 0) return PlannedForm::kNone;
    const size_t at = plan_->bytes;
    plan_->bytes += RoundUp(bytes, kAlignment);
    return at;
  }

  void FloatPanels(size_t panel_rows, size_t count, PlannedForm* form) {
    form->view.layout = WeightLayout::kFloatPanels;
    form->data = Take(count * cpu::FloatPanelBytes(form->view.dtype, panel_rows, form->view.cols));
  }

  void IntPanels(const RowFormat& format, PlannedForm* form) {
    WeightView& view = form->view;
    view.layout = WeightLayout::kIntPanels;
    view.bits = format.bits;
    view.scale_dtype = format.scale_dtype;
    view.row_scaled_activations = format.row_scaled_activations;
    const cpu::IntPanelSizes sizes = cpu::IntPanelBytes(
        {format.bits, format.group, format.scale_dtype, format.zeros, format.mins}, view.rows, view.cols);
    form->data = Take(sizes.codes);
    form->scales = Take(sizes.scales);
    form->zeros = Take(sizes.zeros);
    form->mins = Take(sizes.mins);
    if (format.reordered) form->column_order = Take(view.cols * sizeof(uint32_t));
  }

 private:
  WeightPlan* plan_;
};

void PlanMatrix(const Uses& uses, Places* places, PlannedWeight* out) {
  const RowFormat& format = out->format;
  const bool floats = format.bits == 0 && format.group == 0;
  WeightView view{.dtype = format.dtype,
                  .rows = format.rows,
                  .cols = format.cols,
                  .partials = static_cast<uint32_t>(format.partials),
                  .group = format.group};
  if (uses.panels) {
    out->panels.view = view;
    if (format.bits != 0) {
      places->IntPanels(format, &out->panels);
    } else {
      places->FloatPanels(view.rows, 1, &out->panels);
      if (!floats)
        out->panels.scales =
            places->Take(format.groups() * RoundUp(view.rows, cpu::FloatPanelRows()) * sizeof(float));
    }
  }
  view.dtype = floats ? format.dtype : Dtype::kF32;
  view.group = 0;
  if (uses.rows) {
    out->rows.view = view;
    out->rows.data = places->Take(view.rows * view.cols * DtypeBytes(view.dtype));
  }
  if (const Op* op = uses.expand_value; op != nullptr) {
    out->latent = op->latent;
    view.rows = size_t{op->num_heads} * op->latent.value_dim;
    out->values.view = view;
    places->FloatPanels(op->latent.value_dim, op->num_heads, &out->values);
  }
}

Status CheckVector(const WeightSource& source) {
  const auto* plain = std::get_if<PlainWeight>(&source.stored);
  if (plain == nullptr || source.first_col != 0 || source.quantize != WeightQuantization::kNone ||
      !FloatDtype(plain->tensor.dtype))
    return WeightError(source, "is a vector, and not of plain floats");
  if (source.shape[0] == 0 || plain->tensor.shape.size() != 1 || source.first_row > plain->tensor.shape[0] ||
      source.shape[0] > plain->tensor.shape[0] - source.first_row) {
    return WeightError(source, "elements " + std::to_string(source.first_row) + "+" +
                                   std::to_string(source.shape[0]) + " are not within its tensor");
  }
  return CheckSize(source, plain->tensor);
}

/// Of a matrix's rows: what its tensors take, in proportion.
uint64_t StoredBytes(const RowFormat& format) {
  const uint64_t values = uint64_t{format.rows} * format.cols;
  return format.bits == 4 ? values / 2 : values * format.element_bytes();
}

}  // namespace

WeightView PlannedForm::At(const std::byte* memory) const {
  WeightView bound = view;
  const auto at = [&](size_t offset) { return offset == kNone ? nullptr : memory + offset; };
  bound.data = at(data);
  bound.scales = at(scales);
  bound.zeros = reinterpret_cast<const int8_t*>(at(zeros));
  bound.mins = reinterpret_cast<const float*>(at(mins));
  bound.column_order = reinterpret_cast<const uint32_t*>(at(column_order));
  return bound;
}

Status CheckWeightSource(const WeightSource& source) {
  if (source.shape.size() == 1) return CheckVector(source);
  RowFormat format;
  return DescribeMatrix(source, false, &format);
}

Status PlanWeights(const ProgramSpec& spec, const std::vector<bool>& wide_scales, WeightPlan* out) {
  *out = {};
  const std::vector<Uses> uses = UsesOf(spec);
  Places places(out);
  for (size_t i = 0; i < spec.weights.size(); ++i) {
    const WeightSource& source = spec.weights[i];
    PlannedWeight& planned = out->weights.emplace_back();
    if (source.shape.size() == 1) {
      if (Status s = CheckVector(source); !s.ok()) return s;
      planned.vector = places.Take(source.shape[0] * sizeof(float));
      planned.stored_bytes = source.shape[0] * sizeof(float);
    } else {
      const bool wide = i < wide_scales.size() && wide_scales[i];
      if (Status s = DescribeMatrix(source, wide, &planned.format); !s.ok()) return s;
      if (uses[i].embed && planned.format.reordered)
        return WeightError(source, "is embedded, and its columns are reordered (g_idx)");
      PlanMatrix(uses[i], &places, &planned);
      planned.stored_bytes = StoredBytes(planned.format);
    }
    out->stored_bytes += planned.stored_bytes;
  }
  return Status::Ok();
}

}  // namespace skein
