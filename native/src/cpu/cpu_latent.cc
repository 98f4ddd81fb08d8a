#include <algorithm>

#include "cpu/absorb.h"
#include "cpu/cpu_backend.h"
#include "cpu/float_panels.h"
#include "cpu/linear.h"

namespace skein::cpu {
namespace {

constexpr size_t kAbsorbRowsPerItem = 64;

/// `rows` rows of a weight from `first`.
WeightView RowsOf(const WeightView& weight, size_t first, size_t rows) {
  const auto* data =
      static_cast<const std::byte*>(weight.data) + first * weight.cols * DtypeBytes(weight.dtype);
  return {.data = data, .dtype = weight.dtype, .rows = rows, .cols = weight.cols};
}

Matrix ColumnsOf(const Matrix& m, size_t first, size_t width) {
  return {m.data + first, m.rows, width, m.stride};
}

}  // namespace

void CpuBackend::AbsorbKey(const Op& op, const WeightView& weight, Matrix q, Matrix out) {
  Flush();
  const LatentShape& l = op.latent;
  const size_t q_dim = size_t{l.nope_dim} + l.rope_dim, out_dim = size_t{l.latent_dim} + l.rope_dim;
  const size_t blocks = CeilDiv(q.rows, kAbsorbRowsPerItem);
  pool_.Run(blocks * op.num_heads, cancelled_, [&](size_t item, size_t) {
    // Heads outside: the blocks of one head, which share its weights, are neighbours.
    const size_t head = item / blocks, first = item % blocks * kAbsorbRowsPerItem;
    const size_t rows = std::min(kAbsorbRowsPerItem, q.rows - first);
    const float* from = q.data + first * q.stride + head * q_dim;
    float* to = out.data + first * out.stride + head * out_dim;
    const WeightView keys = RowsOf(weight, head * (size_t{l.nope_dim} + l.value_dim), l.nope_dim);
    AbsorbRows(from, q.stride, rows, keys, to, out.stride);
    for (size_t r = 0; r < rows; ++r)
      std::copy_n(from + r * q.stride + l.nope_dim, l.rope_dim, to + r * out.stride + l.latent_dim);
  });
}

/// Every item widens the rows it reads, so it takes many heads, unless threads would be left without an item
/// or a split of one. The results do not depend on it.
uint32_t CpuBackend::LatentHeadsPerItem(uint32_t num_heads) const {
  size_t splits = 0;
  for (uint32_t s = 0; s < input_->num_seqs; ++s) {
    const int32_t tokens = input_->query_start[s + 1] - input_->query_start[s];
    splits += CeilDiv(static_cast<size_t>(input_->num_computed_tokens[s] + tokens), kSplitPositions);
  }
  const auto items = [&](uint32_t heads) {
    const size_t blocks = size_t{input_->num_tokens} * heads / kAttentionMaxRows;
    return std::max(splits, blocks) * (num_heads / heads);
  };
  uint32_t heads = kLatentHeadsMax;
  while (num_heads % heads != 0 || (heads > kLatentHeadsMax / 4 && items(heads) < pool_.threads())) --heads;
  return heads;
}

void CpuBackend::LatentAttention(const Op& op, const KVCacheLayer& layer, Matrix q, Matrix latent,
                                 Matrix key_rope, Matrix out) {
  WriteKV(layer, latent, 0, 0);
  WriteKV(layer, key_rope, 0, op.latent.latent_dim);
  Attend(LatentAttentionShape(op, layer.dtype, LatentHeadsPerItem(op.num_heads)), op, layer, q, out);
}

void CpuBackend::ExpandValue(const Op& op, const WeightView& weight, Matrix x, Matrix out) {
  Flush();
  const LatentShape& l = op.latent;
  const size_t row_blocks = CeilDiv(x.rows, kLinearMaxRows);
  const size_t cols = LinearBlockCols(x.rows, l.latent_dim, weight.dtype);
  const size_t col_blocks = CeilDiv(l.value_dim, cols);
  const size_t head_bytes = FloatPanelBytes(weight.dtype, l.value_dim, weight.cols);
  pool_.Run(op.num_heads * row_blocks * col_blocks, cancelled_, [&](size_t item, size_t thread) {
    const size_t head = item / (row_blocks * col_blocks);
    const size_t row = item / col_blocks % row_blocks * kLinearMaxRows, col = item % col_blocks * cols;
    WeightView values = weight;
    values.data = static_cast<const std::byte*>(weight.data) + head * head_bytes;
    values.rows = l.value_dim;
    LinearBlock(ColumnsOf(x, head * l.latent_dim, l.latent_dim),
                {values, nullptr, ColumnsOf(out, head * l.value_dim, l.value_dim)}, row,
                std::min(x.rows, row + kLinearMaxRows), col, std::min<size_t>(l.value_dim, col + cols),
                Scratch(thread));
  });
}

}  // namespace skein::cpu
