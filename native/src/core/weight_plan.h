#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/program_spec.h"
#include "core/stored/row_format.h"
#include "core/weight.h"
#include "skein/status.h"

namespace skein {

/// Types, shapes and sizes of `source` agree, without looking at the file. kInvalidArgument names the weight.
Status CheckWeightSource(const WeightSource& source);

/// One form of a weight: its view, with offsets into the memory of all weights for the pointers, which are
/// null. A part that the form lacks has no offset.
struct PlannedForm {
  static constexpr size_t kNone = SIZE_MAX;
  WeightView view;
  size_t data = kNone;
  size_t scales = kNone;
  size_t zeros = kNone;
  size_t mins = kNone;
  size_t column_order = kNone;

  bool present() const { return data != kNone; }
  WeightView At(const std::byte* memory) const;
};

/// The forms in which the ops read one weight.
struct PlannedWeight {
  /// Of a matrix.
  RowFormat format;
  /// For linear, logits, experts and embed ops: kFloatPanels or kIntPanels.
  PlannedForm panels;
  /// For absorbKey: kRows, dequantized to f32.
  PlannedForm rows;
  /// For expandValue: the value rows, kFloatPanels of each head by itself, dequantized to f32.
  PlannedForm values;
  LatentShape latent;
  /// Of a vector: f32.
  size_t vector = PlannedForm::kNone;
  /// What is read of the files, for progress.
  uint64_t stored_bytes = 0;
};

/// Where everything lies in one memory. It depends on the program and the instruction level alone.
struct WeightPlan {
  std::vector<PlannedWeight> weights;
  size_t bytes = 0;
  uint64_t stored_bytes = 0;
};

/// The program's ops were checked. `wide_scales`: weights by id that are quantized at load with scales of
/// f32. kInvalidArgument names a weight that cannot be packed for an op that reads it.
Status PlanWeights(const ProgramSpec& spec, const std::vector<bool>& wide_scales, WeightPlan* out);

}  // namespace skein
