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
#include "cpu/attention_tile-inl.h"
// clang-format on

#ifndef SKEIN_CPU_ATTENTION_ONCE
#define SKEIN_CPU_ATTENTION_ONCE
namespace skein::cpu {
// A pair of the widest vectors.
constexpr size_t kPadFloats = 32;
/// Up to this many rows read the cache where it lies; more widen it once for all.
constexpr size_t kFewRows = 8;
constexpr size_t kPackedRows = 4;

/// Of each row: sums of weighed values [rows, value_dim], and what they are relative to.
struct RowSums {
  size_t value_dim;
  float *sum, *max_score, *weight;
  static size_t Floats(size_t rows, size_t value_dim) {
    return rows * RoundUp(value_dim, kPadFloats) + 2 * RoundUp(rows, kPadFloats);
  }
  RowSums(size_t rows, size_t dim, float* at)
      : value_dim(RoundUp(dim, kPadFloats)),
        sum(at),
        max_score(sum + rows * value_dim),
        weight(max_score + RoundUp(rows, kPadFloats)) {}
  void Clear(size_t begin, size_t end) const {
    std::fill(sum + begin * value_dim, sum + end * value_dim, 0.0f);
    std::fill(max_score + begin, max_score + end, -std::numeric_limits<float>::infinity());
    std::fill(weight + begin, weight + end, 0.0f);
  }
};

struct AttentionScratch {
  size_t dim;  // from query to query
  float *q, *keys, *values, *scores, *rope_scores;
  RowSums split, merged;

  /// What has a scale of its own begins at a multiple of kPadFloats.
  static size_t RopeOffset(const AttentionShape& shape) {
    return RoundUp(shape.head_dim - shape.rope_dim, kPadFloats);
  }
  static size_t QueryFloats(const AttentionShape& shape) {
    return RopeOffset(shape) + RoundUp(shape.rope_dim, kPadFloats);
  }
  static size_t Floats(const AttentionShape& shape) {
    const size_t rows = shape.tokens_per_item() * shape.heads_per_kv_head;
    return (rows + kPackedRows) * QueryFloats(shape) +
           kTilePositions * (RoundUp(shape.value_dim, kPadFloats) + 2 * rows) +
           2 * RowSums::Floats(rows, shape.value_dim);
  }
  AttentionScratch(const AttentionShape& shape, float* at)
      : AttentionScratch(shape, shape.tokens_per_item() * shape.heads_per_kv_head, at) {}

 private:
  AttentionScratch(const AttentionShape& shape, size_t rows, float* at)
      : dim(QueryFloats(shape)),
        q(at),
        keys(q + rows * dim),
        values(keys + kPackedRows * dim),
        scores(values + kTilePositions * RoundUp(shape.value_dim, kPadFloats)),
        rope_scores(scores + rows * kTilePositions),
        split(rows, shape.value_dim, rope_scores + rows * kTilePositions),
        merged(rows, shape.value_dim,
               rope_scores + rows * kTilePositions + RowSums::Floats(rows, shape.value_dim)) {}
};

struct Range {
  size_t begin, end;
};

/// First position that the token at `position` sees.
inline size_t FirstSeen(const AttentionItem& item, size_t position) {
  return item.window == 0 || position < item.window ? 0 : position - item.window + 1;
}

/// Rows whose tokens see any of the positions [begin, end): causality cuts the first ones, windows the last.
inline Range RowsThatSee(const AttentionItem& item, size_t begin, size_t end) {
  const size_t first = item.first_position, last = first + item.num_tokens;
  const size_t from = std::min(std::max(begin, first), last);
  const size_t to = item.window == 0 ? last : std::max(from, std::min(last, end + item.window - 1));
  const size_t group = item.shape.heads_per_kv_head;
  return {(from - first) * group, (to - first) * group};
}

/// Tiles of a split that any row sees.
inline Range TilesOf(const AttentionItem& item, size_t split) {
  const size_t begin = split * kSplitPositions, first_seen = FirstSeen(item, item.first_position);
  return {std::max(begin, RoundDown(first_seen, kTilePositions)),
          std::min<size_t>(begin + kSplitPositions, item.first_position + item.num_tokens)};
}

}  // namespace skein::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// Softmax and weighed values of rows [first, end) of a tile whose scores are known.
template <typename V, typename T>
void WeighTile(const cpu::AttentionItem& item, size_t begin, const CacheTile<T>& tile, cpu::Range rows,
               const V* const* values, const Ahead<T>& ahead, const cpu::AttentionScratch& s,
               const cpu::RowSums& sums) {
  const size_t group = item.shape.heads_per_kv_head;
  const size_t cols = hwy::RoundUpTo(item.shape.value_dim, kPair);
  const auto visible = [&](size_t row) {
    return std::min(begin + tile.count, item.first_position + row / group + 1) - begin;
  };
  Ahead<T> once = ahead;
  for (size_t r = rows.begin; r < rows.end;) {
    const size_t left = rows.end - r, together = left >= 12 || left == 6 ? 6
                                                 : left >= 4             ? 4
                                                 : left >= 2             ? 2
                                                                         : 1;
    float shrink[6];
    for (size_t i = 0; i < together; ++i) {
      const size_t seen = FirstSeen(item, item.first_position + (r + i) / group);
      shrink[i] = SoftmaxTile(item, s.scores + (r + i) * cpu::kTilePositions, std::max(seen, begin) - begin,
                              visible(r + i), &sums.max_score[r + i], &sums.weight[r + i]);
      if constexpr (kScaled<T>)
        ScaleWeights(s.scores + (r + i) * cpu::kTilePositions, tile.value_scales, visible(r + i));
    }
    // Later tokens see more: what the first row sees in all together, the rest of each by itself.
    const size_t common = visible(r);
    Weighing<V> w{s.scores + r * cpu::kTilePositions, values,        0, common, shrink,
                  sums.sum + r * sums.value_dim,      sums.value_dim};
    if (together == 6) {
      WeighRows<6>(w, cols, once);
    } else if (together == 4) {
      WeighRows<4>(w, cols, once);
    } else if (together == 2) {
      WeighRows<2>(w, cols, once);
    } else {
      WeighRows<1>(w, cols, once);
    }
    once = {};
    for (size_t i = 0; i < together; ++i) {
      if (visible(r + i) == common) continue;
      const float keep = 1;
      WeighRows<1>(Weighing<V>{w.weights + i * cpu::kTilePositions, values, common, visible(r + i), &keep,
                               w.sum + i * w.stride, w.stride},
                   cols, once);
    }
    r += together;
  }
}

/// Scores of rows [first, end) with a tile, whose scales are read. Fetches the values where they are apart.
template <typename T>
void ScoreTile(const cpu::AttentionItem& item, const CacheTile<T>& tile, cpu::Range rows,
               const cpu::AttentionScratch& s) {
  const cpu::AttentionShape& shape = item.shape;
  const size_t apart = shape.rope_dim, front = shape.head_dim - apart, count = rows.end - rows.begin;
  const float* q = s.q + rows.begin * s.dim;
  float* scores = s.scores + rows.begin * cpu::kTilePositions;
  float* rope_scores = s.rope_scores + rows.begin * cpu::kTilePositions;
  const KeyRun run{0, 0, front}, rope{cpu::AttentionScratch::RopeOffset(shape), front, apart};
  if (count <= cpu::kFewRows && InPairs(front) && InPairs(apart)) {
    Ahead<T> values;
    if (item.layer.value_part() != 0) values = {tile.values, CeilDiv(shape.value_dim * sizeof(T), 64)};
    ScoreFewRows(q, s.dim, count, tile, run, values, scores);
    if (apart > 0) ScoreFewRows(q, s.dim, count, tile, rope, Ahead<T>(), rope_scores);
  } else {
    ScoreManyRows(q, s.dim, count, tile, run, s.keys, scores);
    if (apart > 0) ScoreManyRows(q, s.dim, count, tile, rope, s.keys, rope_scores);
  }
  if constexpr (kScaled<T>)
    ScaleScores(scores, tile.key_scales[0], apart > 0 ? rope_scores : nullptr, tile.key_scales[1], count,
                tile.count);
}

/// One tile for the rows that see any of it. `next` may be null.
template <typename T>
void AttendTile(const cpu::AttentionItem& item, size_t begin, CacheTile<T>& tile, const CacheTile<T>* next,
                const cpu::AttentionScratch& s, const cpu::RowSums& sums) {
  const cpu::Range rows = RowsThatSee(item, begin, begin + cpu::kTilePositions);
  if (rows.begin == rows.end) return;
  tile.ReadScales(item, begin);
  ScoreTile(item, tile, rows, s);
  const size_t value_dim = item.shape.value_dim;
  Ahead<T> ahead;
  if (next != nullptr) ahead = {next->keys, CeilDiv(item.shape.head_dim * sizeof(T), 64)};
  // Quantized values are widened once where many rows would each do it.
  const bool as_they_lie = !kScaled<T> || rows.end - rows.begin <= cpu::kFewRows;
  if (InPairs(value_dim) && as_they_lie) {
    WeighTile(item, begin, tile, rows, tile.values, ahead, s, sums);
    return;
  }
  const float* wide[cpu::kTilePositions];
  for (size_t j = 0; j < tile.count; ++j) {
    float* row = s.values + j * sums.value_dim;
    wide[j] = row;
    size_t i = 0;
    for (; i + kLanes <= value_dim; i += kLanes) hn::Store(LoadF32(tile.values[j] + i), DF(), row + i);
    if (i < value_dim) hn::Store(LoadPartial(tile.values[j] + i, value_dim - i), DF(), row + i);
    for (i = hwy::RoundUpTo(value_dim, kLanes); i < hwy::RoundUpTo(value_dim, kPair); ++i) row[i] = 0;
  }
  WeighTile(item, begin, tile, rows, wide, ahead, s, sums);
}

template <typename T>
void AttendSplit(const cpu::AttentionItem& item, size_t split, const cpu::AttentionScratch& s,
                 const cpu::RowSums& sums) {
  const auto [first_row, end_row] =
      RowsThatSee(item, split * cpu::kSplitPositions, (split + 1) * cpu::kSplitPositions);
  sums.Clear(first_row, end_row);
  const auto [begin, end] = TilesOf(item, split);
  CacheTile<T> tiles[2];
  tiles[0].Set(item, begin);
  const Ahead<T> keys{tiles[0].keys, CeilDiv(item.shape.head_dim * sizeof(T), 64)};
  keys.Fetch(0, tiles[0].count);
  for (size_t at = begin, i = 0; at < end; at += cpu::kTilePositions, i = 1 - i) {
    const bool last = at + cpu::kTilePositions >= end;
    if (!last) tiles[1 - i].Set(item, at + cpu::kTilePositions);
    AttendTile<T>(item, at, tiles[i], last ? nullptr : &tiles[1 - i], s, sums);
  }
}

/// merged = merged + split, both relative to their own maxima.
void MergeRow(const cpu::RowSums& merged, const cpu::RowSums& split, size_t row) {
  const DF d;
  const float high = std::max(merged.max_score[row], split.max_score[row]);
  const float old_part = ShrinkOf(merged.max_score[row], high),
              new_part = ShrinkOf(split.max_score[row], high);
  merged.weight[row] = merged.weight[row] * old_part + split.weight[row] * new_part;
  merged.max_score[row] = high;
  for (size_t i = 0; i < merged.value_dim; i += kLanes) {
    float* m = merged.sum + row * merged.value_dim + i;
    const VF scaled = hn::Mul(hn::Load(d, m), hn::Set(d, old_part));
    hn::Store(hn::MulAdd(hn::Load(d, split.sum + row * split.value_dim + i), hn::Set(d, new_part), scaled), d,
              m);
  }
}

void MergeRows(const cpu::AttentionItem& item, size_t split, const cpu::RowSums& merged,
               const cpu::RowSums& sums) {
  const auto [first_row, end_row] =
      RowsThatSee(item, split * cpu::kSplitPositions, (split + 1) * cpu::kSplitPositions);
  for (size_t r = first_row; r < end_row; ++r) MergeRow(merged, sums, r);
}

/// Queries in the order in which keys are read, zeros between and behind.
template <typename T>
void CopyQueries(const cpu::AttentionItem& item, const cpu::AttentionScratch& s) {
  const cpu::AttentionShape& shape = item.shape;
  const size_t group = shape.heads_per_kv_head, front = shape.head_dim - shape.rope_dim;
  for (size_t r = 0; r < item.num_tokens * group; ++r) {
    const float* from = item.q + r / group * item.q_stride + r % group * shape.head_dim;
    float* to = s.q + r * s.dim;
    std::fill(to, to + s.dim, 0.0f);
    for (size_t i = 0; i < front; ++i) to[PlaceOf<T>(i, front)] = from[i];
    std::copy_n(from + front, shape.rope_dim, to + cpu::AttentionScratch::RopeOffset(shape));
  }
}

template <typename T>
void WriteOut(const cpu::AttentionItem& item, const cpu::RowSums& merged) {
  const size_t group = item.shape.heads_per_kv_head, value_dim = item.shape.value_dim;
  for (size_t r = 0; r < item.num_tokens * group; ++r) {
    float* out = item.out + r / group * item.out_stride + r % group * value_dim;
    const float* sum = merged.sum + r * merged.value_dim;
    const float inverse = 1.0f / merged.weight[r];
    for (size_t i = 0; i < value_dim; ++i) out[i] = sum[PlaceOf<T>(i, value_dim)] * inverse;
  }
}

template <typename T>
void Attend(const cpu::AttentionItem& item, const cpu::AttentionScratch& s) {
  CopyQueries<T>(item, s);
  s.merged.Clear(0, item.num_tokens * item.shape.heads_per_kv_head);
  const auto [first, count] = SplitsOf(item);
  for (size_t split = first; split < first + count; ++split) {
    AttendSplit<T>(item, split, s, s.split);
    MergeRows(item, split, s.merged, s.split);
  }
  WriteOut<T>(item, s.merged);
}

template <typename T>
void MergeSplits(const cpu::AttentionItem& item, const float* sums, const cpu::RowSums& merged) {
  const size_t rows = item.num_tokens * item.shape.heads_per_kv_head;
  merged.Clear(0, rows);
  const auto [first, count] = SplitsOf(item);
  for (size_t i = 0; i < count; ++i) {
    float* of_split = const_cast<float*>(sums) + i * SplitSumsFloats(item);
    MergeRows(item, first + i, merged, cpu::RowSums(rows, item.shape.value_dim, of_split));
  }
  WriteOut<T>(item, merged);
}

/// use(a value of the cache's element type).
template <class Use>
void WithElement(KVCacheDtype dtype, const Use& use) {
  switch (dtype) {
    case KVCacheDtype::kF32:
      return use(float());
    case KVCacheDtype::kF16:
      return use(F16());
    case KVCacheDtype::kBF16:
      return use(BF16());
    case KVCacheDtype::kF8E4M3:
      return use(KVF8());
    case KVCacheDtype::kI8:
      return use(KVI8());
  }
}

void AttentionImpl(const cpu::AttentionItem& item, float* scratch) {
  const cpu::AttentionScratch s(item.shape, scratch);
  WithElement(item.layer.dtype, [&](auto element) HWY_ATTR { Attend<decltype(element)>(item, s); });
}

void SplitImpl(const cpu::AttentionItem& item, size_t split, const cpu::RowSums& sums, float* scratch) {
  const cpu::AttentionScratch s(item.shape, scratch);
  WithElement(item.layer.dtype, [&](auto element) HWY_ATTR {
    CopyQueries<decltype(element)>(item, s);
    AttendSplit<decltype(element)>(item, split, s, sums);
  });
}

void MergeImpl(const cpu::AttentionItem& item, const float* sums, float* scratch) {
  const cpu::AttentionScratch s(item.shape, scratch);
  WithElement(item.layer.dtype,
              [&](auto element) HWY_ATTR { MergeSplits<decltype(element)>(item, sums, s.merged); });
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(AttentionImpl);
HWY_EXPORT(SplitImpl);
HWY_EXPORT(MergeImpl);
namespace cpu {

size_t AttentionScratchBytes(const AttentionShape& shape) {
  return AttentionScratch::Floats(shape) * sizeof(float);
}

void AttentionBlock(const AttentionItem& item, float* scratch) {
  HWY_DYNAMIC_DISPATCH(AttentionImpl)(item, scratch);
}

AttentionSplits SplitsOf(const AttentionItem& item) {
  const size_t first = FirstSeen(item, item.first_position) / kSplitPositions;
  return {first, CeilDiv(item.first_position + item.num_tokens, kSplitPositions) - first};
}

size_t SplitSumsFloats(const AttentionItem& item) {
  return RowSums::Floats(item.num_tokens * item.shape.heads_per_kv_head, item.shape.value_dim);
}

void AttentionSplit(const AttentionItem& item, size_t split, float* sums, float* scratch) {
  const RowSums of_split(item.num_tokens * item.shape.heads_per_kv_head, item.shape.value_dim, sums);
  HWY_DYNAMIC_DISPATCH(SplitImpl)(item, split, of_split, scratch);
}

void MergeAttentionSplits(const AttentionItem& item, const float* sums, float* scratch) {
  HWY_DYNAMIC_DISPATCH(MergeImpl)(item, sums, scratch);
}

}  // namespace cpu
}  // namespace skein
#endif
