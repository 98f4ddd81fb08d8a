#pragma once

#include <memory>

#include "core/stored/stored_matrix.h"

/// The two halves of each stored format: `Describe` fills everything of the RowFormat but rows and cols,
/// which are the weight's, and checks the tensors; `Open` makes the reader.
namespace skein::stored {

using Matrix = std::unique_ptr<StoredMatrix>;

Status Describe(const WeightSource&, const PlainWeight&, RowFormat*);
Status Describe(const WeightSource&, const GptqWeight&, RowFormat*);
Status Describe(const WeightSource&, const AwqWeight&, RowFormat*);
Status Describe(const WeightSource&, const PackedWeight&, RowFormat*);
Status Describe(const WeightSource&, const Int8Weight&, RowFormat*);
Status Describe(const WeightSource&, const Fp8Weight&, RowFormat*);

Status Open(const WeightSource&, const PlainWeight&, const RowFormat&, SourceFiles*, Matrix*);
Status Open(const WeightSource&, const GptqWeight&, const RowFormat&, SourceFiles*, Matrix*);
Status Open(const WeightSource&, const AwqWeight&, const RowFormat&, SourceFiles*, Matrix*);
Status Open(const WeightSource&, const PackedWeight&, const RowFormat&, SourceFiles*, Matrix*);
Status Open(const WeightSource&, const Int8Weight&, const RowFormat&, SourceFiles*, Matrix*);
Status Open(const WeightSource&, const Fp8Weight&, const RowFormat&, SourceFiles*, Matrix*);

/// A plain tensor of a ggml block type.
void DescribeGgml(TensorDtype dtype, RowFormat* out);
Matrix OpenGgml(const WeightSource&, const RowFormat&, StoredTensor tensor);

/// `floats` is quantized as it is read.
Status DescribeQuantized(const WeightSource&, const RowFormat& floats, bool wide_scales, RowFormat*);
Matrix OpenQuantized(const WeightSource&, const RowFormat&, Matrix floats);

/// Whether the weight takes columns from its tensors that are not all.
bool TakesSomeColumns(const WeightSource&);
/// The same with all of the columns.
WeightSource WholeOf(const WeightSource&);
/// `whole`, less the columns that the weight does not take. kInvalidArgument where products with the columns
/// of several ranks would not add up to the bits of one that has all.
Status DescribeSlice(const WeightSource&, const RowFormat& whole, RowFormat*);
Status OpenSlice(const WeightSource&, const RowFormat&, SourceFiles*, Matrix*);

/// The rows that the weight takes are among the `stored_rows` of its tensors.
Status CheckRows(const WeightSource&, uint64_t stored_rows);
/// `group_size` 0 is all columns. A group must divide them, and be a multiple of 16 where there are several.
Status CheckGroup(const WeightSource&, uint32_t group_size, uint32_t* group);
/// f32, f16 or bf16.
Status CheckScales(const WeightSource&, const TensorSource&, const std::vector<uint64_t>& shape, RowFormat*);
/// Of a matrix of scales [groups, n]: columns [first, first + count) as out->scales, which are finite.
Status ReadScaleColumns(const StoredTensor& scales, size_t first, size_t count, RowBlock* out);
/// kFile names the first scale that is not finite.
Status CheckFinite(const TensorSource&, const std::vector<float>& scales);

}  // namespace skein::stored
