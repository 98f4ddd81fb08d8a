#pragma once

#include <cstddef>
#include <memory>

#include "core/stored/stored_matrix.h"
#include "core/weight_plan.h"

namespace skein {

/// Reads one matrix and packs it into its forms, piece by piece. Pieces write to disjoint places, so that
/// several threads can take them at once.
class WeightPacker {
 public:
  /// The references must outlive the packer; `memory` is that of the plan.
  WeightPacker(const WeightSource& source, const PlannedWeight& planned, std::byte* memory)
      : source_(source), planned_(planned), memory_(memory) {}

  Status Open(SourceFiles* files);
  size_t pieces() const { return panel_pieces_ + row_pieces_ + heads_; }
  /// kFile names what is wrong in the file.
  Status Pack(size_t piece, RowBlock* block) const;
  bool needs_wide_scales() const { return matrix_->needs_wide_scales(); }

 private:
  Status PackPanels(size_t first, size_t count, RowBlock* block) const;
  Status PackRows(size_t first, size_t count, RowBlock* block) const;
  Status PackHead(size_t head, RowBlock* block) const;
  /// The row as f32, or, of plain floats, as it is.
  void Unquantized(const RowBlock& block, size_t index, std::byte* out) const;
  std::byte* At(size_t offset) const { return memory_ + offset; }

  const WeightSource& source_;
  const PlannedWeight& planned_;
  std::byte* memory_;
  std::unique_ptr<StoredMatrix> matrix_;
  size_t block_rows_ = 0;
  size_t panel_pieces_ = 0, row_pieces_ = 0, heads_ = 0;
};

}  // namespace skein
