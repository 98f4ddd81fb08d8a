// The inner kernel of integer linears: a few rows of activations against one panel of weights. Included once
// per target.
#if defined(SKEIN_CPU_INT_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_INT_TILE_INL_H
#undef SKEIN_CPU_INT_TILE_INL_H
#else
#define SKEIN_CPU_INT_TILE_INL_H
#endif

#include <algorithm>
#include <bit>
#include <utility>

#include "cpu/int_dot-inl.h"
#include "cpu/int_linear_kernels.h"
#include "cpu/row_pointers-inl.h"
#include "hwy/cache_control.h"

#undef SKEIN_UNROLL_STEPS
#ifdef __SANITIZE_ADDRESS__
// A checked build looks at every step, and would take twice as long to compile eight of them.
#define SKEIN_UNROLL_STEPS
#else
#define SKEIN_UNROLL_STEPS _Pragma("GCC unroll 8")
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// Sources give the two vectors of a panel for four columns. kSymmetricZero is subtracted from every code
/// where a format has neither zeros nor mins, and kOffset always. kLeastRows: of a tile. Dots is one of the
/// forms of int_dot-inl.h.
///
/// 4-bit codes where they lie.
template <class Dots>
struct NibbleSource {
  using Dot = typename Dots::Dot4;
  using Weight = VU8;
  static constexpr size_t kLeastRows = 1, kMostRows = Dot::kMostRows;
  static constexpr bool kFromMemory = true;
  static constexpr size_t kStepBytes = kBytes;
  static constexpr int32_t kSymmetricZero = 8, kOffset = 0;
  static HWY_INLINE void Load(const uint8_t* p, Weight& low, Weight& high) {
    const DU8 d;
    const hn::Repartition<uint16_t, DU8> d16;
    const VU8 both = hn::LoadU(d, p), mask = hn::Set(d, 15);
    low = hn::And(both, mask);
    high = hn::And(hn::BitCast(d, hn::ShiftRight<4>(hn::BitCast(d16, both))), mask);
  }
};

/// 4-bit codes, one a byte, as UnpackNibbles leaves them for kUnpackMinRows or more, which make no lower
/// tiles than kLeastRows: the first number that needs a tile more makes the lowest.
template <class Dots>
struct UnpackedSource {
  using Dot = typename Dots::Dot4;
  using Weight = VU8;
  static constexpr size_t kMostRows = Dot::kMostRows;
  static_assert(cpu::kUnpackMinRows % kMostRows == 0);
  static constexpr size_t kLeastRows = (cpu::kUnpackMinRows + 1) / (cpu::kUnpackMinRows / kMostRows + 1);
  static constexpr bool kFromMemory = false;
  static constexpr size_t kStepBytes = 2 * kBytes;
  static constexpr int32_t kSymmetricZero = 8, kOffset = 0;
  static HWY_INLINE void Load(const uint8_t* p, Weight& low, Weight& high) {
    low = hn::LoadU(DU8(), p);
    high = hn::LoadU(DU8(), p + kBytes);
  }
};

template <class Dots>
struct ByteSource {
  using Dot = typename Dots::Dot8;
  using Weight = typename Dot::Weight;
  static constexpr size_t kLeastRows = 1, kMostRows = Dot::kMostRows;
  static constexpr bool kFromMemory = true;
  static constexpr size_t kStepBytes = 2 * kBytes;
  static constexpr int32_t kSymmetricZero = 0, kOffset = Dot::kOffset;
  static HWY_INLINE void Load(const uint8_t* p, Weight& low, Weight& high) {
    low = Dot::Load(p);
    high = Dot::Load(p + kBytes);
  }
};

/// Meanwhile the `steps` that follow are fetched.
HWY_INLINE void UnpackNibbles(const uint8_t* from, size_t steps, uint8_t* to) {
  for (size_t i = 0; i < steps; ++i, from += kBytes, to += 2 * kBytes) {
    if (i * kBytes % 64 == 0) hwy::Prefetch(from + steps * kBytes);
    VU8 low, high;
    NibbleSource<PairDots>::Load(from, low, high);
    hn::StoreU(low, DU8(), to);
    hn::StoreU(high, DU8(), to + kBytes);
  }
}

/// Scales of a panel and, of affine weights, zeros or mins: [group][kIntPanel], as they are stored.
struct PanelFactors {
  const std::byte* scales;
  Dtype scale_dtype;
  const int8_t* zeros;  // or null
  const float* mins;    // or null
  size_t group_blocks;  // blocks of columns of a group
  size_t panel_groups;  // groups of a panel: so much further the next panel's begin
};

/// The factors of one group.
class GroupFactors {
 public:
  /// Of the group that block `block` belongs to.
  HWY_INLINE GroupFactors(const PanelFactors& panel, size_t block)
      : panel_(panel),
        group_(block / panel.group_blocks),
        left_(panel.group_blocks - block % panel.group_blocks) {
    FetchNextPanel();
  }

  HWY_INLINE void NextBlock() {
    if (--left_ > 0) return;
    left_ = panel_.group_blocks;
    ++group_;
    FetchNextPanel();
  }

  HWY_INLINE VF Scale(size_t lane) const {
    const size_t at = group_ * kIntPanel + lane;
    switch (panel_.scale_dtype) {
      case Dtype::kF16:
        return LoadF32(reinterpret_cast<const F16*>(panel_.scales) + at);
      case Dtype::kBF16:
        return LoadF32(reinterpret_cast<const BF16*>(panel_.scales) + at);
      default:
        return LoadF32(reinterpret_cast<const float*>(panel_.scales) + at);
    }
  }

  /// What an element is beside code * scale.
  HWY_INLINE VF Min(size_t lane, VF scale) const {
    const size_t at = group_ * kIntPanel + lane;
    if (panel_.zeros == nullptr) return LoadF32(panel_.mins + at);
    const hn::Rebind<int8_t, DI32> d8;
    const VI32 zero = hn::PromoteTo(DI32(), hn::LoadU(d8, panel_.zeros + at));
    return hn::Neg(hn::Mul(hn::ConvertTo(DF(), zero), scale));
  }

 private:
  /// Nothing else would read them in time.
  HWY_INLINE void FetchNextPanel() const {
    hwy::Prefetch(panel_.scales +
                  (panel_.panel_groups + group_) * kIntPanel * DtypeBytes(panel_.scale_dtype));
  }

  const PanelFactors& panel_;
  size_t group_, left_;
};

/// Some blocks of columns, of one or more runs (the partial sums of weight.h). Pointers are at the first
/// column, and those of rows at the first row.
struct TileInput {
  const int8_t* x;
  size_t x_stride;
  const float* x_scales;
  const int32_t* x_sums;
  const int32_t* x_zeros;
  size_t x_blocks;  // from row to row, of 32 columns
  size_t x_share;   // blocks of 4 * kSteps columns that share an activation scale
  const uint8_t* codes;
  const uint8_t* fetch;  // what is fetched meanwhile,
  size_t fetch_step;     // so many bytes further with every 64 bytes of codes
  PanelFactors factors;
  size_t first_block;  // of the panel that is computed here
  size_t blocks;       // of 4 * kSteps columns
  size_t run_blocks;   // of a whole run
  size_t run;          // that the first block belongs to
  size_t run_left;     // its blocks from the first on
  float* sums;         // [pending runs][rows][kIntPanel]
  size_t level;        // floats from one pending run's sums to the next one's
};

/// What a code of no weight is; it was added to each weight. Affine weights have their own.
template <class Source, bool kAffine>
constexpr int32_t kZeroOf = Source::kOffset + (kAffine ? 0 : Source::kSymmetricZero);

/// Whether integer sums begin at what kZeroOf makes of the activations, which is taken off at the end
/// otherwise.
template <class Source, bool kAffine, size_t kSteps>
constexpr bool kBeginsAtZeros = kZeroOf<Source, kAffine> != 0 &&
                                (!Source::Dot::kPairs || (Source::kSymmetricZero == 8 && kSteps == 8));

/// Of a row's codes in a block.
template <size_t kSteps>
HWY_INLINE int32_t SumOfCodes(const TileInput& t, size_t row, size_t block) {
  int32_t sum = 0;
  if constexpr (kSteps == 4) {
    const int8_t* x = t.x + row * t.x_stride + block * 16;
    for (size_t i = 0; i < 16; ++i) sum += x[i];
  } else {
    const int32_t* sums = t.x_sums + row * t.x_blocks + block * (kSteps / 8);
    for (size_t i = 0; i < kSteps / 8; ++i) sum += sums[i];
  }
  return sum;
}

/// What a row's sums of a block begin at.
template <class Source, bool kAffine, size_t kSteps>
HWY_INLINE typename Source::Dot::Sum FirstSum(const TileInput& t, size_t row, size_t block) {
  using Dot = typename Source::Dot;
  if constexpr (!kBeginsAtZeros<Source, kAffine, kSteps>) {
    return hn::Zero(hn::DFromV<typename Dot::Sum>());
  } else if constexpr (Dot::kPairs) {
    return Dot::Zeros(t.x_zeros[row * t.x_blocks + block]);
  } else {
    return Dot::Zeros(-kZeroOf<Source, kAffine> * SumOfCodes<kSteps>(t, row, block));
  }
}

template <class Source>
HWY_INLINE void FirstStep(typename Source::Dot::Sum& a, typename Source::Dot::Sum& b,
                          const typename Source::Weight& w0, const typename Source::Weight& w1,
                          const int8_t* x) {
  const VI8 quad = BroadcastQuad(x);
  a = Source::Dot::First(w0, quad);
  b = Source::Dot::First(w1, quad);
}

template <class Source>
HWY_INLINE void NextStep(typename Source::Dot::Sum& a, typename Source::Dot::Sum& b,
                         const typename Source::Weight& w0, const typename Source::Weight& w1,
                         const int8_t* x) {
  const VI8 quad = BroadcastQuad(x);
  a = Source::Dot::Next(a, w0, quad);
  b = Source::Dot::Next(b, w1, quad);
}

/// Scales the integer sums of one row by the weights' factors, `mins` those of affine weights. They are
/// stored in `part`, or, unless they are the first of an activation scale, added to it.
template <class Source, bool kAffine, size_t kSteps>
HWY_INLINE void AddScaled(const TileInput& t, size_t row, size_t block, bool first, float* part,
                          typename Source::Dot::Sum a, typename Source::Dot::Sum b, VF scale0, VF scale1,
                          [[maybe_unused]] const float* mins) {
  const DF d;
  constexpr int32_t kZero = kBeginsAtZeros<Source, kAffine, kSteps> ? 0 : kZeroOf<Source, kAffine>;
  VI32 dot0 = Source::Dot::Total(a), dot1 = Source::Dot::Total(b);
  [[maybe_unused]] int32_t x_sum = 0;
  if constexpr (kZero != 0 || kAffine) x_sum = SumOfCodes<kSteps>(t, row, block);
  if constexpr (kZero != 0) {
    const VI32 zero = hn::Set(DI32(), x_sum * kZero);
    dot0 = hn::Sub(dot0, zero);
    dot1 = hn::Sub(dot1, zero);
  }
  part += row * kIntPanel;
  VF sum0 = hn::ConvertTo(d, dot0), sum1 = hn::ConvertTo(d, dot1);
  if (first) {
    sum0 = hn::Mul(sum0, scale0);
    sum1 = hn::Mul(sum1, scale1);
  } else {
    sum0 = hn::MulAdd(sum0, scale0, hn::Load(d, part));
    sum1 = hn::MulAdd(sum1, scale1, hn::Load(d, part + kLanes));
  }
  if constexpr (kAffine) {
    const VF weight = hn::ConvertTo(d, hn::Set(DI32(), x_sum));
    sum0 = hn::MulAdd(hn::Load(d, mins), weight, sum0);
    sum1 = hn::MulAdd(hn::Load(d, mins + kLanes), weight, sum1);
  }
  hn::Store(sum0, d, part);
  hn::Store(sum1, d, part + kLanes);
}

/// Adds what one activation scale applies to, in `part`, to the sums of the run.
HWY_INLINE void AddPart(const float* part, float x_scale, float* sums) {
  const DF d;
  const VF scale = hn::Set(d, x_scale);
  for (size_t i = 0; i < kIntPanel; i += kLanes)
    hn::Store(hn::MulAdd(hn::Load(d, part + i), scale, hn::Load(d, sums + i)), d, sums + i);
}

/// Where the sums of a run lie: above those of the runs that wait for their neighbour, which are as many as
/// the bits of its number.
HWY_INLINE float* SumsOfRun(const TileInput& t, size_t run) {
  return t.sums + static_cast<size_t>(std::popcount(run)) * t.level;
}

template <size_t kRows>
HWY_INLINE void ClearSums(float* sums) {
  for (size_t i = 0; i < kRows * kIntPanel; i += kLanes) hn::Store(hn::Zero(DF()), DF(), sums + i);
}

/// Adds a finished run to those that wait: as in binary counting, runs of equal weight are added.
template <size_t kRows>
HWY_INLINE void MergeRun(size_t run, size_t level, float* sums) {
  for (; run & 1; run >>= 1, sums -= level) {
    float* left = sums - level;
    for (size_t i = 0; i < kRows * kIntPanel; i += kLanes)
      hn::Store(hn::Add(hn::Load(DF(), left + i), hn::Load(DF(), sums + i)), DF(), left + i);
  }
}

/// Rows kRow... of the input against the panel. Integer sums are exact, so that a row's result is the same in
/// any tile. Pack expansions rather than loops: GCC keeps arrays in registers only where indices are
/// constants from the start.
template <class Source, bool kAffine, size_t kSteps, size_t... kRow>
HWY_INLINE void IntTile(const TileInput t, std::index_sequence<kRow...>) {
  using Sum = typename Source::Dot::Sum;
  constexpr size_t kRows = sizeof...(kRow);
  constexpr size_t kUnroll = std::min<size_t>(kSteps, 8), kStepBytes = Source::kStepBytes;
  HWY_ALIGN float part[kRows * kIntPanel];
  [[maybe_unused]] HWY_ALIGN float mins[kIntPanel];
  GroupFactors factors(t.factors, t.first_block);
  RowPointers<kRows, int8_t> x(t.x, t.x_stride);
  const uint8_t *codes = t.codes, *fetch = t.fetch;
  // One for each 64 bytes of codes, of which a step of wide vectors has two.
  const auto fetch_lines = [&] {
    if constexpr (!Source::kFromMemory) return;
    for (size_t bytes = 0; bytes < std::max<size_t>(64, kStepBytes); bytes += 64, fetch += t.fetch_step)
      hwy::Prefetch(fetch);
  };
  // A step's loads stay behind the products of the one before: moved up they would take the registers of
  // sums.
  const auto settle = [&] {
    x.Settle();
    asm volatile("" : "+r"(codes));
  };
  size_t run = t.run, left = t.run_left;
  for (size_t block = 0; block < t.blocks;) {
    float* sums = SumsOfRun(t, run);
    if (left == t.run_blocks) ClearSums<kRows>(sums);
    const size_t end = block + std::min(left, t.blocks - block);
    left -= end - block;
    while (block < end) {
      const float* x_scales = t.x_scales + block * kSteps / 8;
      for (size_t share = 0; share < t.x_share; ++share, ++block) {
        Sum a[kRows], b[kRows];
        constexpr bool kBegun = kBeginsAtZeros<Source, kAffine, kSteps> || kSteps > kUnroll;
        if constexpr (kBegun) ((a[kRow] = b[kRow] = FirstSum<Source, kAffine, kSteps>(t, kRow, block)), ...);
        for (size_t step = 0; step < kSteps;
             step += kUnroll, x.Advance(4 * kUnroll), codes += kUnroll * kStepBytes) {
          typename Source::Weight w0, w1;
          fetch_lines();
          Source::Load(codes, w0, w1);
          if constexpr (kBegun) {
            (NextStep<Source>(a[kRow], b[kRow], w0, w1, x.template row<kRow>()), ...);
          } else {
            (FirstStep<Source>(a[kRow], b[kRow], w0, w1, x.template row<kRow>()), ...);
          }
          settle();
          SKEIN_UNROLL_STEPS
          for (size_t i = 1; i < kUnroll; ++i) {
            if (i * kStepBytes % 64 == 0) {
              fetch_lines();
            }
            Source::Load(codes + i * kStepBytes, w0, w1);
            (NextStep<Source>(a[kRow], b[kRow], w0, w1, x.template row<kRow>() + i * 4), ...);
            settle();
          }
        }
        const VF scale0 = factors.Scale(0), scale1 = factors.Scale(kLanes);
        if constexpr (kAffine) {
          hn::Store(factors.Min(0, scale0), DF(), mins);
          hn::Store(factors.Min(kLanes, scale1), DF(), mins + kLanes);
        }
        factors.NextBlock();
        (AddScaled<Source, kAffine, kSteps>(t, kRow, block, share == 0, part, a[kRow], b[kRow], scale0,
                                            scale1, mins),
         ...);
      }
      (AddPart(part + kRow * kIntPanel, x_scales[kRow * t.x_blocks], sums + kRow * kIntPanel), ...);
    }
    if (left > 0) break;
    MergeRun<kRows>(run, t.level, sums);
    ++run;
    left = t.run_blocks;
  }
}

template <class Source, bool kAffine, size_t kSteps, size_t kRows>
HWY_NOINLINE void IntTileOf(const TileInput& t) {
  IntTile<Source, kAffine, kSteps>(t, std::make_index_sequence<kRows>());
}

/// A tile of `height` rows, from Source::kLeastRows to kRows.
template <class Source, bool kAffine, size_t kSteps, size_t kRows = Source::kMostRows>
HWY_INLINE void IntTileOfHeight(const TileInput& t, size_t height) {
  if constexpr (kRows > Source::kLeastRows) {
    if (height < kRows) return IntTileOfHeight<Source, kAffine, kSteps, kRows - 1>(t, height);
  }
  IntTileOf<Source, kAffine, kSteps, kRows>(t);
}

/// `rows` (any number that tiles of Source::kLeastRows to Source::kMostRows make up) against the panel, in
/// tiles of about equal height.
template <class Source, bool kAffine, size_t kSteps>
void IntTiles(TileInput t, size_t rows) {
  constexpr size_t kMost = Source::kMostRows;
  for (size_t tiles = (rows + kMost - 1) / kMost, r = 0; tiles > 0; --tiles) {
    const size_t height = (rows - r + tiles - 1) / tiles;
    IntTileOfHeight<Source, kAffine, kSteps>(t, height);
    r += height;
    t.x += height * t.x_stride;
    t.x_scales += height * t.x_blocks;
    t.x_sums += height * t.x_blocks;
    t.x_zeros += height * t.x_blocks;
    t.sums += height * kIntPanel;
    // The next tile goes on where this one has stopped.
    t.fetch += t.fetch_step * t.blocks * (kSteps * Source::kStepBytes / 64);
  }
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
