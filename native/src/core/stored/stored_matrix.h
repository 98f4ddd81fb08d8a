#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/stored/row_format.h"
#include "core/stored/stored_tensor.h"
#include "core/weight_source.h"
#include "skein/status.h"

namespace skein {

/// A matrix of a checkpoint, read by rows whatever its format. Thread-safe.
class StoredMatrix {
 public:
  virtual ~StoredMatrix() = default;
  StoredMatrix(const StoredMatrix&) = delete;
  StoredMatrix& operator=(const StoredMatrix&) = delete;

  const RowFormat& format() const { return format_; }
  /// Column c of what is read is column column_order()[c] of the matrix; empty for the same order.
  std::span<const uint32_t> column_order() const { return column_order_; }
  /// Rows that are worth reading at once.
  virtual size_t block_rows() const { return 64; }
  /// Whether rows that were read had scales beyond f16, which the format has: read them with wide scales.
  virtual bool needs_wide_scales() const { return false; }
  /// Rows [first, first + count) of the weight. kFile names a tensor whose content is wrong, and the value.
  virtual Status Read(size_t first, size_t count, RowBlock* out) const = 0;

 protected:
  explicit StoredMatrix(const RowFormat& format) : format_(format) {}
  std::vector<uint32_t> column_order_;

 private:
  const RowFormat format_;
};

/// Checks types, shapes and sizes of a matrix's tensors without looking at the files; kInvalidArgument names
/// weight, tensor and both shapes. `wide_scales`: a float matrix is quantized with scales of f32.
Status DescribeMatrix(const WeightSource& weight, bool wide_scales, RowFormat* out);

/// Opens a matrix that was described as `format`. kFile when a file cannot be opened, is short, or what is
/// read of it at once (the order of columns) is wrong.
Status OpenMatrix(const WeightSource& weight, const RowFormat& format, SourceFiles* files,
                  std::unique_ptr<StoredMatrix>* out);

}  // namespace skein
