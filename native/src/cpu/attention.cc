#include "cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/dot_tile-inl.h"
#include "cpu/soft_cap-inl.h"
#include "hwy/contrib/math/math-inl.h"
// clang-format on

#ifndef SKEIN_CPU_ATTENTION_ONCE
#define SKEIN_CPU_ATTENTION_ONCE
namespace skein::cpu {
// Part of every result, so never tuned per machine: the softmax is rescaled after each tile, and partial
// results of splits are merged in order, whoever computes them.
constexpr size_t kTilePositions = 64;
constexpr size_t kSplitPositions = 512;
// Enough for every vector width.
constexpr size_t kPadFloats = 16;

struct AttentionScratch {
  size_t rows, dim, value_dim;
  float *q, *keys, *values, *scores, *sum, *merged, *max_score, *weight, *merged_max, *merged_weight;

  static size_t Floats(size_t rows, size_t dim, size_t value_dim) {
    return (rows + kTilePositions) * dim + (2 * rows + kTilePositions) * value_dim + rows * kTilePositions +
           4 * RoundUp(rows, kPadFloats);
  }
  AttentionScratch(const AttentionShape& shape, float* at)
      : rows(shape.tokens_per_item() * shape.heads_per_kv_head),
        dim(RoundUp(shape.head_dim, kPadFloats)),
        value_dim(RoundUp(shape.value_dim, kPadFloats)) {
    const auto take = [&](size_t n) {
      float* p = at;
      at += n;
      return p;
    };
    q = take(rows * dim);
    sum = take(rows * value_dim);
    merged = take(rows * value_dim);
    keys = take(kTilePositions * dim);
    values = take(kTilePositions * value_dim);
    scores = take(rows * kTilePositions);
    max_score = take(RoundUp(rows, kPadFloats));
    weight = take(RoundUp(rows, kPadFloats));
    merged_max = take(RoundUp(rows, kPadFloats));
    merged_weight = take(RoundUp(rows, kPadFloats));
  }
};
}  // namespace skein::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

HWY_INLINE float ExpOf(float x) { return hn::GetLane(hn::Exp(DF(), hn::Set(DF(), x))); }

template <typename T>
const T* CacheRow(const cpu::AttentionItem& item, uint32_t part, size_t position) {
  const KVCacheLayer& layer = item.layer;
  const auto block = static_cast<uint32_t>(item.block_ids[position / layer.block_size]);
  return reinterpret_cast<const T*>(layer.Head(block, part, item.kv_head)) +
         position % layer.block_size * layer.head_dim;
}

/// Widens K (packed for DotRows) and V (rows of `value_dim`, zero-padded) of `count` positions from `begin`.
template <typename T>
void LoadTile(const cpu::AttentionItem& item, size_t begin, size_t count, const cpu::AttentionScratch& s) {
  const size_t head_dim = item.shape.head_dim, value_dim = item.shape.value_dim;
  float* keys = s.keys;
  for (size_t j = 0; j < count; j += kTileCols, keys += PackedFloats(head_dim)) {
    const T* rows[kTileCols];
    for (size_t i = 0; i < kTileCols; ++i) rows[i] = CacheRow<T>(item, 0, begin + std::min(j + i, count - 1));
    PackRows(rows, head_dim, keys);
  }
  for (size_t j = 0; j < count; ++j) {
    const T* row = CacheRow<T>(item, item.layer.value_part(), begin + j);
    float* to = s.values + j * s.value_dim;
    size_t i = 0;
    for (; i + kLanes <= value_dim; i += kLanes) hn::Store(LoadF32(row + i), DF(), to + i);
    if (i < value_dim) hn::Store(LoadPartial(row + i, value_dim - i), DF(), to + i);
  }
}

/// Scales and caps, and turns a row's scores of positions [hidden, count) into weights exp(score - max) in
/// place, those before into 0; updates max and weight. Returns the factor by which the sums so far shrink.
float SoftmaxTile(const cpu::AttentionItem& item, float* scores, size_t hidden, size_t count,
                  float* max_score, float* weight) {
  const DF d;
  const VF factor = hn::Set(d, item.scale);
  VF highest = hn::Set(d, *max_score);
  for (size_t j = 0; j < count; j += kLanes) {
    const VF v = hn::Mul(hn::Load(d, scores + j), factor);
    hn::Store(v, d, scores + j);
  }
  if (item.soft_cap > 0) {
    const VF cap = hn::Set(d, item.soft_cap), inverse = hn::Set(d, 1.0f / item.soft_cap);
    for (size_t j = 0; j < count; j += kLanes)
      hn::Store(SoftCapOf(hn::Load(d, scores + j), cap, inverse), d, scores + j);
  }
  for (size_t j = 0; j < hidden; ++j) scores[j] = -std::numeric_limits<float>::infinity();
  for (size_t j = count; j < hwy::RoundUpTo(count, kLanes); ++j)
    scores[j] = -std::numeric_limits<float>::infinity();
  for (size_t j = 0; j < count; j += kLanes) highest = hn::Max(highest, hn::Load(d, scores + j));
  const float new_max = hn::GetLane(hn::MaxOfLanes(d, highest));
  const VF shift = hn::Set(d, new_max);
  VF total = hn::Zero(d);
  // Below this exp is 0 in f32; the clamp keeps -infinity out of Exp.
  const VF floor = hn::Set(d, -104.0f);
  for (size_t j = 0; j < count; j += kLanes) {
    const VF diff = hn::Sub(hn::Load(d, scores + j), shift);
    const VF e = hn::IfThenElseZero(hn::Gt(diff, floor), hn::Exp(d, hn::Max(diff, floor)));
    hn::Store(e, d, scores + j);
    total = hn::Add(total, e);
  }
  const float shrink = *max_score == new_max           ? 1.0f
                       : *max_score < new_max - 104.0f ? 0.0f
                                                       : ExpOf(*max_score - new_max);
  *weight = *weight * shrink + SumOf(total);
  *max_score = new_max;
  return shrink;
}

/// sum[r] = sum[r] * shrink[r] + weights[r] . V for kRows rows and kVecs vectors of columns, positions in
/// order.
template <size_t kRows, size_t kVecs>
HWY_INLINE void WeighValues(const float* weights, const float* values, size_t dim, size_t count,
                            const float* shrink, float* sum) {
  const DF d;
  VF acc[kRows][kVecs];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kVecs; ++c)
      acc[r][c] = hn::Mul(hn::Load(d, sum + r * dim + c * kLanes), hn::Set(d, shrink[r]));
  }
  for (size_t j = 0; j < count; ++j) {
    VF v[kVecs];
    for (size_t c = 0; c < kVecs; ++c) v[c] = hn::Load(d, values + j * dim + c * kLanes);
    for (size_t r = 0; r < kRows; ++r) {
      const VF w = hn::Set(d, weights[r * cpu::kTilePositions + j]);
      for (size_t c = 0; c < kVecs; ++c) acc[r][c] = hn::MulAdd(w, v[c], acc[r][c]);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kVecs; ++c) hn::Store(acc[r][c], d, sum + r * dim + c * kLanes);
  }
}

template <size_t kRows>
void WeighRows(const float* weights, const cpu::AttentionScratch& s, size_t count, const float* shrink,
               float* sum) {
  size_t c = 0;
  for (; c + 2 * kLanes <= s.value_dim; c += 2 * kLanes) {
    WeighValues<kRows, 2>(weights, s.values + c, s.value_dim, count, shrink, sum + c);
  }
  for (; c < s.value_dim; c += kLanes)
    WeighValues<kRows, 1>(weights, s.values + c, s.value_dim, count, shrink, sum + c);
}

/// merged = merged + split, both relative to their own maxima.
void MergeSplit(const cpu::AttentionScratch& s, size_t row) {
  const DF d;
  const float high = std::max(s.merged_max[row], s.max_score[row]);
  const auto part = [&](float m) HWY_ATTR {
    return m == high ? 1.0f : m < high - 104.0f ? 0.0f : ExpOf(m - high);
  };
  const float old_part = part(s.merged_max[row]), new_part = part(s.max_score[row]);
  s.merged_weight[row] = s.merged_weight[row] * old_part + s.weight[row] * new_part;
  s.merged_max[row] = high;
  for (size_t i = 0; i < s.value_dim; i += kLanes) {
    float* m = s.merged + row * s.value_dim + i;
    const VF scaled = hn::Mul(hn::Load(d, m), hn::Set(d, old_part));
    hn::Store(hn::MulAdd(hn::Load(d, s.sum + row * s.value_dim + i), hn::Set(d, new_part), scaled), d, m);
  }
}

struct Range {
  size_t begin, end;
};

/// First position that the token at `position` sees.
size_t FirstSeen(const cpu::AttentionItem& item, size_t position) {
  return item.window == 0 || position < item.window ? 0 : position - item.window + 1;
}

/// Rows whose tokens see any of the positions [begin, end): causality cuts the first ones, windows the last.
Range RowsThatSee(const cpu::AttentionItem& item, size_t begin, size_t end) {
  const size_t first = item.first_position, last = first + item.num_tokens;
  const size_t from = std::min(std::max(begin, first), last);
  const size_t to = item.window == 0 ? last : std::max(from, std::min(last, end + item.window - 1));
  const size_t group = item.shape.heads_per_kv_head;
  return {(from - first) * group, (to - first) * group};
}

/// One tile for the rows that see any of it.
template <typename T>
void AttendTile(const cpu::AttentionItem& item, size_t begin, const cpu::AttentionScratch& s) {
  const size_t group = item.shape.heads_per_kv_head;
  const size_t end = std::min<size_t>(begin + cpu::kTilePositions, item.first_position + item.num_tokens);
  const auto [first_row, rows] = RowsThatSee(item, begin, begin + cpu::kTilePositions);
  if (first_row == rows) return;
  LoadTile<T>(item, begin, end - begin, s);
  const float* keys = s.keys;
  for (size_t j = 0; j < end - begin; j += kTileCols, keys += PackedFloats(item.shape.head_dim)) {
    float* to = s.scores + first_row * cpu::kTilePositions + j;
    DotRows(s.q + first_row * s.dim, s.dim, rows - first_row, PackedSource{keys}, item.shape.head_dim,
            [&](size_t r, hn::Vec128<float> v)
                HWY_ATTR { hn::StoreU(v, hn::Full128<float>(), to + r * cpu::kTilePositions); });
  }
  const auto visible = [&](size_t row) {
    return std::min(end, item.first_position + row / group + 1) - begin;
  };
  for (size_t r = first_row; r < rows;) {
    const size_t count = visible(r);
    size_t together = 1;
    while (together < 4 && r + together < rows && visible(r + together) == count) ++together;
    if (together < 4) together = 1;
    float shrink[4];
    for (size_t i = 0; i < together; ++i) {
      const size_t seen = FirstSeen(item, item.first_position + (r + i) / group);
      shrink[i] = SoftmaxTile(item, s.scores + (r + i) * cpu::kTilePositions, std::max(seen, begin) - begin,
                              count, &s.max_score[r + i], &s.weight[r + i]);
    }
    const float* weights = s.scores + r * cpu::kTilePositions;
    if (together == 4) {
      WeighRows<4>(weights, s, count, shrink, s.sum + r * s.value_dim);
    } else {
      WeighRows<1>(weights, s, count, shrink, s.sum + r * s.value_dim);
    }
    r += together;
  }
}

template <typename T>
void Attend(const cpu::AttentionItem& item, float* scratch) {
  const cpu::AttentionScratch s(item.shape, scratch);
  const size_t group = item.shape.heads_per_kv_head, head_dim = item.shape.head_dim;
  const size_t value_dim = item.shape.value_dim;
  const size_t rows = item.num_tokens * group;
  for (size_t r = 0; r < rows; ++r) {
    std::memcpy(s.q + r * s.dim, item.q + r / group * item.q_stride + r % group * head_dim,
                head_dim * sizeof(float));
    std::fill_n(s.merged + r * s.value_dim, s.value_dim, 0.0f);
    s.merged_max[r] = -std::numeric_limits<float>::infinity();
    s.merged_weight[r] = 0;
  }
  const size_t end = item.first_position + item.num_tokens;
  const size_t first_seen = FirstSeen(item, item.first_position);
  for (size_t split = RoundDown(first_seen, cpu::kSplitPositions); split < end;
       split += cpu::kSplitPositions) {
    const auto [first_row, end_row] = RowsThatSee(item, split, split + cpu::kSplitPositions);
    for (size_t r = first_row; r < end_row; ++r) {
      std::fill_n(s.sum + r * s.value_dim, s.value_dim, 0.0f);
      s.max_score[r] = -std::numeric_limits<float>::infinity();
      s.weight[r] = 0;
    }
    const size_t split_end = std::min(end, split + cpu::kSplitPositions);
    for (size_t tile = std::max(split, RoundDown(first_seen, cpu::kTilePositions)); tile < split_end;
         tile += cpu::kTilePositions)
      AttendTile<T>(item, tile, s);
    for (size_t r = first_row; r < end_row; ++r) MergeSplit(s, r);
  }
  for (size_t r = 0; r < rows; ++r) {
    float* out = item.out + r / group * item.out_stride + r % group * value_dim;
    const float inverse = 1.0f / s.merged_weight[r];
    for (size_t i = 0; i < value_dim; ++i) out[i] = s.merged[r * s.value_dim + i] * inverse;
  }
}

void AttentionImpl(const cpu::AttentionItem& item, float* scratch) {
  switch (item.layer.dtype) {
    case Dtype::kF32:
      return Attend<float>(item, scratch);
    case Dtype::kF16:
      return Attend<F16>(item, scratch);
    case Dtype::kBF16:
      return Attend<BF16>(item, scratch);
    case Dtype::kF8E4M3:
      return Attend<F8E4M3>(item, scratch);
  }
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(AttentionImpl);
namespace cpu {

size_t AttentionScratchBytes(const AttentionShape& shape) {
  const size_t rows = shape.tokens_per_item() * shape.heads_per_kv_head;
  return AttentionScratch::Floats(rows, RoundUp(shape.head_dim, kPadFloats),
                                  RoundUp(shape.value_dim, kPadFloats)) *
         sizeof(float);
}

void AttentionBlock(const AttentionItem& item, float* scratch) {
  HWY_DYNAMIC_DISPATCH(AttentionImpl)(item, scratch);
}

}  // namespace cpu
}  // namespace skein
#endif
