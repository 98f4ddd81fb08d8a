#include "cpu/row_ops.h"

#include <algorithm>

#include "cpu/float_panels.h"
#include "cpu/int_panels.h"
#include "cpu/kv_row.h"
#include "cpu/part_block.h"

namespace skein::cpu {
namespace {

const float* At(const Matrix& m, size_t row) { return m.data + row * m.stride; }
float* Out(const Matrix& m, size_t row) { return m.data + row * m.stride; }

void Run(const EmbedRow& op, size_t row) {
  const auto unpack = IsQuantized(op.weight) ? UnpackIntRow : UnpackFloatRow;
  float* out = Out(op.out, row);
  if (op.ids[row] < 0) {
    std::fill_n(out, op.out.width, 0.0f);
    return;
  }
  unpack(op.weight, static_cast<size_t>(op.ids[row]), out);
  if (op.scale != 1) ScaleRow(out, op.scale, op.out.width, out);
}

void Run(const NormRow& op, size_t row) {
  for (size_t c = 0; c < op.x.width; c += op.norm_width)
    RmsNormRow(At(op.x, row) + c, op.weight, op.norm_width, Out(op.out, row) + c);
}

void Run(const RopeRow& op, size_t row) {
  const size_t half = op.op->rotary_dim / 2, start = op.op->rotary_start, head_dim = op.op->head_dim;
  const auto rotate = op.op->interleaved ? RopeInterleavedHead : RopeHead;
  for (size_t h = 0; h < op.x.width; h += head_dim) {
    const float* from = At(op.x, row) + h;
    float* to = Out(op.out, row) + h;
    std::copy_n(from, start, to);
    rotate(from + start, op.cos + row * half, op.sin + row * half, half, head_dim - start, to + start);
  }
}

void Run(const GateRow& op, size_t row) {
  const auto gate = op.gelu ? GeluTanhMulRow : SiluMulRow;
  gate(At(op.gate, row), At(op.up, row), op.out.width, Out(op.out, row));
}

void Run(const AddRows& op, size_t row) {
  AddRow(At(op.a, row), At(op.b, row), op.out.width, Out(op.out, row));
}

void Run(const CacheRow& op, size_t row) {
  const KVCacheLayer& layer = *op.layer;
  const uint32_t position = op.positions[row];
  const int32_t* blocks = op.input->block_ids + op.input->block_start[op.sequences[row]];
  const auto block = static_cast<uint32_t>(blocks[position / layer.block_size]);
  const size_t count = op.x.width / layer.num_kv_heads;
  for (uint32_t head = 0; head < layer.num_kv_heads; ++head) {
    WriteKVRow(layer, {layer.Head(block, op.part, head), position % layer.block_size, op.first},
               At(op.x, row) + head * count, count);
  }
}

void Run(const QuantizeRow& op, size_t row) {
  QuantizeRows(At(op.x, row), op.x.stride, op.column_order, op.row_scaled, op.out.Rows(row, 1));
}

}  // namespace

void RunRow(const RowOp& op, size_t row) {
  std::visit([row](const auto& o) { Run(o, row); }, op);
}

size_t RowElements(const RowOp& op) {
  return std::visit(
      [](const auto& o) {
        if constexpr (requires { o.out.width; }) {
          return o.out.width;
        } else {
          return o.x.width;
        }
      },
      op);
}

}  // namespace skein::cpu
