// One tile of attention: scores of some query rows with the keys of some positions, their softmax, and the
// sums of values they weigh. Each kernel has one order of sums per element, whatever tile the element is in:
// a score is kLanes sums over the head in order, added as SumsOf4 does; a weighed sum takes positions in
// order. Included once per target.
#if defined(SKEIN_CPU_ATTENTION_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_ATTENTION_TILE_INL_H
#undef SKEIN_CPU_ATTENTION_TILE_INL_H
#else
#define SKEIN_CPU_ATTENTION_TILE_INL_H
#endif

#include <algorithm>
#include <limits>
#include <type_traits>

#include "core/checked_math.h"
#include "cpu/attention.h"
#include "cpu/dot_tile-inl.h"
#include "cpu/kv_load-inl.h"
#include "cpu/soft_cap-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// Rows of the cache at some positions of a sequence.
template <typename T>
struct CacheTile {
  size_t count = 0;
  // Of the last position from `count` on: kernels take four at a time, and fetch as many as the tile before
  // has.
  const T* keys[cpu::kTilePositions];
  const T* values[cpu::kTilePositions];
  /// Of quantized rows, once read; of the rotated part in the second. Zeros from `count` on.
  HWY_ALIGN float key_scales[2][cpu::kTilePositions];
  HWY_ALIGN float value_scales[cpu::kTilePositions];

  /// Positions from `begin` on, to the end of the tile or of the item. Fetches the scales.
  void Set(const cpu::AttentionItem& item, size_t begin) {
    count = std::min<size_t>(cpu::kTilePositions, item.first_position + item.num_tokens - begin);
    const KVCacheLayer& layer = item.layer;
    ForRuns(item, begin, [&](size_t j, size_t row, size_t run, std::byte* key_head, std::byte* value_head) {
      const auto* key = reinterpret_cast<const T*>(key_head) + row * layer.head_dim;
      const auto* value = reinterpret_cast<const T*>(value_head) + row * layer.head_dim;
      for (size_t i = 0; i < run; ++i) {
        keys[j + i] = key + i * layer.head_dim;
        values[j + i] = value + i * layer.head_dim;
      }
      if constexpr (kScaled<T>) {
        hwy::Prefetch(layer.Scales(key_head) + row);
        hwy::Prefetch(layer.Scales(value_head) + row);
      }
    });
    std::fill(keys + count, keys + cpu::kTilePositions, keys[count - 1]);
  }

  void ReadScales(const cpu::AttentionItem& item, size_t begin) {
    if constexpr (kScaled<T>) {
      const KVCacheLayer& layer = item.layer;
      const size_t kinds = item.shape.rope_dim > 0 ? 2 : 1;
      ForRuns(item, begin, [&](size_t j, size_t row, size_t run, std::byte* key_head, std::byte* value_head) {
        for (size_t i = 0; i < run; ++i) {
          for (size_t kind = 0; kind < kinds; ++kind)
            key_scales[kind][j + i] =
                layer.Scales(key_head)[kind * layer.block_size + row + i] * kCodeUnit<T>;
          value_scales[j + i] = layer.Scales(value_head)[row + i] * kCodeUnit<T>;
        }
      });
      for (size_t j = count; j < cpu::kTilePositions; ++j) {
        key_scales[0][j] = key_scales[1][j] = 0;
        value_scales[j] = 0;
      }
    }
  }

 private:
  /// body(first position in the tile, first row in its block, count, heads of K and V) for each block.
  template <class Body>
  HWY_INLINE void ForRuns(const cpu::AttentionItem& item, size_t begin, const Body& body) const {
    const KVCacheLayer& layer = item.layer;
    for (size_t j = 0; j < count;) {
      const size_t row = (begin + j) % layer.block_size,
                   run = std::min<size_t>(count - j, layer.block_size - row);
      const auto block = static_cast<uint32_t>(item.block_ids[(begin + j) / layer.block_size]);
      body(j, row, run, layer.Head(block, 0, item.kv_head),
           layer.Head(block, layer.value_part(), item.kv_head));
      j += run;
    }
  }
};

/// What a kernel fetches while it computes: rows[j] beside the tile's position j.
template <typename T>
struct Ahead {
  const T* const* rows = nullptr;
  size_t lines = 0;  // of a row
  HWY_INLINE void FetchLine(size_t j, size_t line) const {
    hwy::Prefetch(reinterpret_cast<const std::byte*>(rows[j]) + line * 64);
  }
  HWY_INLINE void Fetch(size_t begin, size_t end) const {
    for (size_t line = 0; line < lines; ++line) {
      for (size_t j = begin; j < end; ++j) FetchLine(j, line);
    }
  }
};

/// Rows are read two vectors at a time. Of bf16 the even elements come first and then the odd ones, which
/// saves half the work of widening; queries and sums lie in that order too. Other types stay in order.
template <typename T>
HWY_INLINE VF LoadFirst(const T* p) {
  return LoadF32(p);
}
template <typename T>
HWY_INLINE VF LoadSecond(const T* p) {
  return LoadF32(p + kLanes);
}
HWY_INLINE VF LoadFirst(const BF16* p) {
  const hn::RebindToUnsigned<DF> d;
  return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::LoadU(d, reinterpret_cast<const uint32_t*>(p))));
}
HWY_INLINE VF LoadSecond(const BF16* p) {
  const hn::RebindToUnsigned<DF> d;
  const auto bits = hn::LoadU(d, reinterpret_cast<const uint32_t*>(p));
  return hn::BitCast(DF(), hn::And(bits, hn::Set(d, 0xffff0000u)));
}

constexpr size_t kPair = 2 * kLanes;

/// Whether rows of `n` elements are read by pairs of vectors; others are widened to whole pairs first, in
/// order.
constexpr bool InPairs(size_t n) { return n % kPair == 0; }

/// Where element i of a row of type T lies among the floats that stand for it.
template <typename T>
constexpr size_t PlaceOf(size_t i, size_t n) {
  if (!std::is_same_v<T, BF16> || !InPairs(n)) return i;
  return i / kPair * kPair + i % 2 * kLanes + i % kPair / 2;
}

/// Keeps GCC from loading an operand anew for each use, where loads are what a loop waits for.
HWY_INLINE VF Once(VF v) {
#if HWY_ARCH_X86 && HWY_COMPILER_GCC
  asm("" : "+v"(v.raw));
#endif
  return v;
}

/// A run of elements of queries and keys that is scored by itself: where it lies in either.
struct KeyRun {
  size_t in_query, in_key, dim;
};

/// Sums of products of kRows query rows (of floats, `stride` apart) with kKeys keys.
template <size_t kRows, size_t kKeys, typename T>
HWY_INLINE void DotKeys(const float* HWY_RESTRICT q, size_t stride, const T* const* keys, const KeyRun& of,
                        VF (&sums)[kRows][kKeys]) {
  const DF d;
  const T* key[kKeys];
  for (size_t c = 0; c < kKeys; ++c) key[c] = keys[c] + of.in_key;
  q += of.in_query;
  VF acc[kRows][kKeys];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kKeys; ++c) acc[r][c] = hn::Zero(d);
  }
  for (size_t i = 0; i < of.dim; i += kPair) {
    VF k[kKeys];
    for (size_t c = 0; c < kKeys; ++c) k[c] = LoadFirst(key[c] + i);
    for (size_t r = 0; r < kRows; ++r) {
      const VF x = Once(hn::Load(d, q + r * stride + i));
      for (size_t c = 0; c < kKeys; ++c) acc[r][c] = hn::MulAdd(x, k[c], acc[r][c]);
    }
    for (size_t c = 0; c < kKeys; ++c) k[c] = LoadSecond(key[c] + i);
    for (size_t r = 0; r < kRows; ++r) {
      const VF x = Once(hn::Load(d, q + r * stride + i + kLanes));
      for (size_t c = 0; c < kKeys; ++c) acc[r][c] = hn::MulAdd(x, k[c], acc[r][c]);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kKeys; ++c) sums[r][c] = acc[r][c];
  }
}

/// Scores of four query rows with the keys of two positions, by position.
template <typename T>
HWY_INLINE void DotFourByTwo(const float* q, size_t stride, const T* const* keys, const KeyRun& of,
                             hn::Vec128<float>& first, hn::Vec128<float>& second) {
  VF sums[4][2];
  DotKeys(q, stride, keys, of, sums);
  first = SumsOf4(sums[0][0], sums[1][0], sums[2][0], sums[3][0]);
  second = SumsOf4(sums[0][1], sums[1][1], sums[2][1], sums[3][1]);
}

/// Scores of four query rows with the keys of a tile, two positions at a time: more sums than registers cost
/// more than the wait for a multiply-add.
template <typename T>
void ScoreFour(const float* q, size_t stride, const CacheTile<T>& tile, const KeyRun& of,
               const Ahead<T>& ahead, float* scores) {
  const hn::Full128<float> d4;
  const hn::Full128<double> d2;
  for (size_t j = 0; j < tile.count; j += kTileCols) {
    ahead.Fetch(j, std::min(j + kTileCols, tile.count));
    hn::Vec128<float> a, b, c, e;
    DotFourByTwo(q, stride, tile.keys + j, of, a, b);
    DotFourByTwo(q, stride, tile.keys + j + 2, of, c, e);
    const auto low_ab = hn::BitCast(d2, hn::InterleaveLower(d4, a, b)),
               low_ce = hn::BitCast(d2, hn::InterleaveLower(d4, c, e)),
               high_ab = hn::BitCast(d2, hn::InterleaveUpper(d4, a, b)),
               high_ce = hn::BitCast(d2, hn::InterleaveUpper(d4, c, e));
    const auto store = [&](size_t row, hn::Vec128<double> v) HWY_ATTR {
      hn::StoreU(hn::BitCast(d4, v), d4, scores + row * cpu::kTilePositions + j);
    };
    store(0, hn::InterleaveLower(d2, low_ab, low_ce));
    store(1, hn::InterleaveUpper(d2, low_ab, low_ce));
    store(2, hn::InterleaveLower(d2, high_ab, high_ce));
    store(3, hn::InterleaveUpper(d2, high_ab, high_ce));
  }
}

/// Scores of kRows query rows with the keys of a tile.
template <size_t kRows, typename T>
void ScoreRows(const float* q, size_t stride, const CacheTile<T>& tile, const KeyRun& of,
               const Ahead<T>& ahead, float* scores) {
  for (size_t j = 0; j < tile.count; j += kTileCols) {
    ahead.Fetch(j, std::min(j + kTileCols, tile.count));
    VF sums[kRows][kTileCols];
    DotKeys(q, stride, tile.keys + j, of, sums);
    for (size_t r = 0; r < kRows; ++r)
      hn::StoreU(SumsOf4(sums[r][0], sums[r][1], sums[r][2], sums[r][3]), hn::Full128<float>(),
                 scores + r * cpu::kTilePositions + j);
  }
}

/// Scores [rows][kTilePositions] of few rows, straight from the cache. The run is one of whole pairs.
template <typename T>
void ScoreFewRows(const float* q, size_t stride, size_t rows, const CacheTile<T>& tile, const KeyRun& of,
                  Ahead<T> ahead, float* scores) {
  for (size_t r = 0; r < rows;) {
    const size_t left = rows - r;
    const float* from = q + r * stride;
    float* to = scores + r * cpu::kTilePositions;
    if (left >= 4) {
      ScoreFour(from, stride, tile, of, ahead, to);
      r += 4;
    } else if (left >= 2) {
      ScoreRows<2>(from, stride, tile, of, ahead, to);
      r += 2;
    } else {
      ScoreRows<1>(from, stride, tile, of, ahead, to);
      r += 1;
    }
    ahead.lines = 0;
  }
}

/// The same for many rows, which make widening and packing the keys once worth it. `packed` has room for four
/// rows of `dim` rounded up to whole pairs.
template <typename T>
void ScoreManyRows(const float* q, size_t stride, size_t rows, const CacheTile<T>& tile, const KeyRun& of,
                   float* packed, float* scores) {
  const DF d;
  const size_t padded = hwy::RoundUpTo(of.dim, kLanes);
  for (size_t j = 0; j < tile.count; j += kTileCols) {
    const T* keys[kTileCols];
    for (size_t c = 0; c < kTileCols; ++c) keys[c] = tile.keys[j + c] + of.in_key;
    if (InPairs(of.dim)) {
      float* to = packed;
      for (size_t i = 0; i < of.dim; i += kPair, to += kTileCols * kPair) {
        for (size_t c = 0; c < kTileCols; ++c) {
          hn::Store(LoadFirst(keys[c] + i), d, to + c * kLanes);
          hn::Store(LoadSecond(keys[c] + i), d, to + (kTileCols + c) * kLanes);
        }
      }
    } else {
      PackRows(keys, of.dim, packed);
    }
    float* to = scores + j;
    DotRows(q + of.in_query, stride, rows, PackedSource{packed}, padded,
            [&](size_t r, hn::Vec128<float> v)
                HWY_ATTR { hn::StoreU(v, hn::Full128<float>(), to + r * cpu::kTilePositions); });
  }
}

/// scores = scores * scales (+ more * more_scales, where there are) for `rows` rows of `count` positions.
inline void ScaleScores(float* scores, const float* scales, const float* more, const float* more_scales,
                        size_t rows, size_t count) {
  const DF d;
  for (size_t r = 0; r < rows; ++r) {
    float* row = scores + r * cpu::kTilePositions;
    for (size_t j = 0; j < count; j += kLanes) {
      VF v = hn::Mul(hn::Load(d, row + j), hn::Load(d, scales + j));
      if (more != nullptr)
        v = hn::MulAdd(hn::Load(d, more + r * cpu::kTilePositions + j), hn::Load(d, more_scales + j), v);
      hn::Store(v, d, row + j);
    }
  }
}

/// weights = weights * scales, up to `count` rounded up to whole vectors.
HWY_INLINE void ScaleWeights(float* weights, const float* scales, size_t count) {
  const DF d;
  for (size_t j = 0; j < count; j += kLanes)
    hn::Store(hn::Mul(hn::Load(d, weights + j), hn::Load(d, scales + j)), d, weights + j);
}

/// 2^x, 0 from -127 down; x <= 0. Relative error below 1e-7.
HWY_INLINE VF Exp2Of(VF x) {
  const DF d;
  const hn::RebindToSigned<DF> di;
  const VF floor = hn::Set(d, -127.0f);
  // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
  const VF magic = hn::Set(d, 12582912.0f);
  const VF clamped = hn::Max(x, floor), whole = hn::Add(clamped, magic);
  const VF f = hn::Sub(clamped, hn::Sub(whole, magic));
  VF p = hn::MulAdd(hn::Set(d, 0.00015461444854736328f), f, hn::Set(d, 0.0013400427997112274f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.009618056938052177f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.05550327152013779f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.24022650718688965f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.6931471824645996f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  // At the floor the exponent becomes that of zeros and subnormals.
  const VF scaled = hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, whole))));
  return hn::IfThenElseZero(hn::Gt(x, floor), scaled);
}

/// 2^(low - high), low <= high, both possibly -infinity.
HWY_INLINE float ShrinkOf(float low, float high) {
  return low == high ? 1.0f : hn::GetLane(Exp2Of(hn::Set(DF(), low - high)));
}

/// Scales and caps, and turns a row's scores of positions [hidden, count) into weights 2^(score - max) in
/// place, those before into 0; updates max and weight. Scores are in units of ln 2, so that weights are
/// powers of 2. Returns the factor by which the sums so far shrink.
HWY_INLINE float SoftmaxTile(const cpu::AttentionItem& item, float* HWY_RESTRICT scores, size_t hidden,
                             size_t count, float* max_score, float* weight) {
  const DF d;
  const float lowest = -std::numeric_limits<float>::infinity();
  const size_t whole = hwy::RoundUpTo(count, kLanes);
  const bool capped = item.soft_cap > 0;
  const float log2e = 1.44269504f;
  const VF factor = hn::Set(d, capped ? item.scale : item.scale * log2e);
  if (capped) {
    const VF cap = hn::Set(d, item.soft_cap), inverse = hn::Set(d, 1.0f / item.soft_cap);
    for (size_t j = 0; j < count; j += kLanes) {
      const VF v = SoftCapOf(hn::Mul(hn::Load(d, scores + j), factor), cap, inverse);
      hn::Store(hn::Mul(v, hn::Set(d, log2e)), d, scores + j);
    }
  } else {
    for (size_t j = 0; j < count; j += kLanes)
      hn::Store(hn::Mul(hn::Load(d, scores + j), factor), d, scores + j);
  }
  for (size_t j = 0; j < hidden; ++j) scores[j] = lowest;
  for (size_t j = count; j < whole; ++j) scores[j] = lowest;
  VF highest = hn::Set(d, *max_score);
  for (size_t j = 0; j < count; j += kLanes) highest = hn::Max(highest, hn::Load(d, scores + j));
  const float new_max = hn::GetLane(hn::MaxOfLanes(d, highest));
  const VF shift = hn::Set(d, new_max);
  VF total = hn::Zero(d);
  for (size_t j = 0; j < count; j += kLanes) {
    const VF e = Exp2Of(hn::Sub(hn::Load(d, scores + j), shift));
    hn::Store(e, d, scores + j);
    total = hn::Add(total, e);
  }
  const float shrink = ShrinkOf(*max_score, new_max);
  *weight = *weight * shrink + SumOf(total);
  *max_score = new_max;
  return shrink;
}

/// Weighed sums of some rows: sum[r] = sum[r] * shrink[r] + weights[r] . V over positions [from, to).
template <typename V>
struct Weighing {
  const float* weights;  // [rows][kTilePositions]
  const V* const* values;
  size_t from, to;
  const float* shrink;
  float* sum;
  size_t stride;
};

/// kRows rows and kPairs pairs of vectors of columns from `col`, fetching a line of each row that is ahead.
template <size_t kRows, size_t kPairs, bool kFetch, typename V, typename T>
HWY_INLINE void WeighStrip(const Weighing<V>& w, size_t col, const Ahead<T>& ahead, size_t line) {
  const DF d;
  constexpr size_t kVecs = 2 * kPairs;
  VF acc[kRows][kVecs];
  float* HWY_RESTRICT sum = w.sum + col;
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kVecs; ++c)
      acc[r][c] = hn::Mul(hn::Load(d, sum + r * w.stride + c * kLanes), hn::Set(d, w.shrink[r]));
  }
  const float* HWY_RESTRICT weights = w.weights;
  for (size_t j = w.from; j < w.to; ++j) {
    const V* row = w.values[j] + col;
    if constexpr (kFetch) ahead.FetchLine(j, line);
    VF v[kVecs];
    for (size_t c = 0; c < kVecs; c += 2) {
      v[c] = LoadFirst(row + c * kLanes);
      v[c + 1] = LoadSecond(row + c * kLanes);
    }
    for (size_t r = 0; r < kRows; ++r) {
      const VF weight = hn::Set(d, weights[r * cpu::kTilePositions + j]);
      for (size_t c = 0; c < kVecs; ++c) acc[r][c] = hn::MulAdd(weight, v[c], acc[r][c]);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kVecs; ++c) hn::Store(acc[r][c], d, sum + r * w.stride + c * kLanes);
  }
}

/// All `cols` columns, a multiple of kPair. The lines that are ahead are fetched one a strip, as far as there
/// are strips.
template <size_t kRows, typename V, typename T>
void WeighRows(const Weighing<V>& w, size_t cols, const Ahead<T>& ahead) {
  constexpr size_t kPairs = kRows > 2 ? 1 : 2;
  size_t col = 0, line = 0;
  for (; col + kPairs * kPair <= cols && line < ahead.lines; col += kPairs * kPair, ++line)
    WeighStrip<kRows, kPairs, true>(w, col, ahead, line);
  for (; col + kPairs * kPair <= cols; col += kPairs * kPair)
    WeighStrip<kRows, kPairs, false>(w, col, ahead, 0);
  if (col < cols) WeighStrip<kRows, 1, false>(w, col, ahead, 0);
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
