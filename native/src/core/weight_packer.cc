#include "core/weight_packer.h"

#include <algorithm>
#include <cstring>

#include "cpu/float_panels.h"
#include "cpu/int_panels.h"

namespace skein {

Status WeightPacker::Open(SourceFiles* files) {
  if (Status s = OpenMatrix(source_, planned_.format, files, &matrix_); !s.ok()) return s;
  block_rows_ = matrix_->block_rows();
  const size_t blocks = CeilDiv(planned_.format.rows, block_rows_);
  panel_pieces_ = planned_.panels.present() ? blocks : 0;
  row_pieces_ = planned_.rows.present() ? blocks : 0;
  heads_ = planned_.values.present() ? planned_.values.view.rows / planned_.latent.value_dim : 0;
  const auto order = matrix_->column_order();
  if (planned_.panels.column_order != PlannedForm::kNone) {
    auto* to = reinterpret_cast<uint32_t*>(At(planned_.panels.column_order));
    // In order unless the file says otherwise.
    for (size_t c = 0; c < planned_.format.cols; ++c)
      to[c] = order.empty() ? static_cast<uint32_t>(c) : order[c];
  }
  return Status::Ok();
}

Status WeightPacker::Pack(size_t piece, RowBlock* block) const {
  const bool panels = piece < panel_pieces_;
  if (!panels) piece -= panel_pieces_;
  if (!panels && piece >= row_pieces_) return PackHead(piece - row_pieces_, block);
  const size_t first = piece * block_rows_, count = std::min(block_rows_, planned_.format.rows - first);
  return panels ? PackPanels(first, count, block) : PackRows(first, count, block);
}

Status WeightPacker::PackPanels(size_t first, size_t count, RowBlock* block) const {
  if (Status s = matrix_->Read(first, count, block); !s.ok()) return s;
  const RowFormat& format = planned_.format;
  const PlannedForm& to = planned_.panels;
  if (format.bits != 0) {
    const auto part = [&](size_t offset) { return offset == PlannedForm::kNone ? nullptr : At(offset); };
    const cpu::IntRows rows{block->elements.data(), block->scales.data(),
                            format.zeros ? block->zeros.data() : nullptr,
                            format.mins ? block->mins.data() : nullptr};
    cpu::PackIntRows({format.bits, format.group, format.scale_dtype, format.zeros, format.mins}, rows, count,
                     format.cols, first, At(to.data), At(to.scales),
                     reinterpret_cast<int8_t*>(part(to.zeros)), reinterpret_cast<float*>(part(to.mins)));
    return Status::Ok();
  }
  cpu::PackFloatRows(block->elements.data(), format.dtype, count, format.cols, first, At(to.data));
  if (to.scales == PlannedForm::kNone) return Status::Ok();
  const size_t padded = RoundUp(format.rows, cpu::FloatPanelRows()), groups = format.groups();
  auto* scales = reinterpret_cast<float*>(At(to.scales));
  for (size_t g = 0; g < groups; ++g)
    for (size_t r = 0; r < count; ++r) scales[g * padded + first + r] = block->scales[r * groups + g];
  return Status::Ok();
}

void WeightPacker::Unquantized(const RowBlock& block, size_t index, std::byte* out) const {
  const RowFormat& format = planned_.format;
  const size_t row_bytes = format.cols * format.element_bytes();
  if (format.bits == 0 && format.group == 0) {
    std::memcpy(out, block.elements.data() + index * row_bytes, row_bytes);
  } else {
    DequantizeRow(format, block, index, matrix_->column_order(), reinterpret_cast<float*>(out));
  }
}

Status WeightPacker::PackRows(size_t first, size_t count, RowBlock* block) const {
  if (Status s = matrix_->Read(first, count, block); !s.ok()) return s;
  const WeightView& view = planned_.rows.view;
  const size_t row_bytes = view.cols * DtypeBytes(view.dtype);
  for (size_t r = 0; r < count; ++r) Unquantized(*block, r, At(planned_.rows.data) + (first + r) * row_bytes);
  return Status::Ok();
}

Status WeightPacker::PackHead(size_t head, RowBlock* block) const {
  const LatentShape& l = planned_.latent;
  const size_t first = head * (size_t{l.nope_dim} + l.value_dim) + l.nope_dim;
  if (Status s = matrix_->Read(first, l.value_dim, block); !s.ok()) return s;
  const WeightView& view = planned_.values.view;
  const size_t row_bytes = view.cols * DtypeBytes(view.dtype);
  std::vector<std::byte> rows(l.value_dim * row_bytes);
  for (size_t r = 0; r < l.value_dim; ++r) Unquantized(*block, r, rows.data() + r * row_bytes);
  cpu::PackFloatRows(
      rows.data(), view.dtype, l.value_dim, view.cols, 0,
      At(planned_.values.data) + head * cpu::FloatPanelBytes(view.dtype, l.value_dim, view.cols));
  return Status::Ok();
}

}  // namespace skein
