// Integer dot products of four neighbouring columns per int32 lane, in two forms: with an instruction for
// four products, which some processors of a target have, and without. Included once per target.
#if defined(SKEIN_CPU_INT_DOT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_INT_DOT_INL_H
#undef SKEIN_CPU_INT_DOT_INL_H
#else
#define SKEIN_CPU_INT_DOT_INL_H
#endif

#include <type_traits>

#include "cpu/quad_dots.h"
#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

using DU8 = hn::ScalableTag<uint8_t>;
using DI8 = hn::ScalableTag<int8_t>;
using DI16 = hn::ScalableTag<int16_t>;
using DI32 = hn::ScalableTag<int32_t>;
using VU8 = hn::Vec<DU8>;
using VI8 = hn::Vec<DI8>;
using VI16 = hn::Vec<DI16>;
using VI32 = hn::Vec<DI32>;
constexpr size_t kBytes = HWY_MAX_BYTES;

/// Weight rows of a panel of cpu/int_panels.h: the lanes of two vectors.
constexpr size_t kIntPanel = 2 * kLanes;

/// Rows of a tile: two vectors of sums each, beside two of weights and one of activations, of 16 registers.
/// Of 32 where an instruction has four products.
constexpr size_t kIntTileRows = 6, kWideIntTileRows = HWY_TARGET == HWY_AVX3 ? 8 : kIntTileRows;

/// A vector of signed codes.
HWY_INLINE VI8 LoadCodes(const uint8_t* codes) { return hn::BitCast(DI8(), hn::LoadU(DU8(), codes)); }

#if HWY_ARCH_X86
#if HWY_TARGET <= HWY_AVX3
#define SKEIN_INT_DOT(name) _mm512_##name
#elif HWY_TARGET == HWY_AVX2
#define SKEIN_INT_DOT(name) _mm256_##name
#else
#define SKEIN_INT_DOT(name) _mm_##name
#endif

// The additions of products to sums are opaque to the compiler: GCC would compute all products of an unrolled
// loop first, keep them in memory and add them at the end.
HWY_INLINE VI16 AddTo(VI16 sum, VI16 v) {
#if HWY_TARGET <= HWY_AVX2
  asm("vpaddw %1, %0, %0" : "+v"(sum.raw) : "v"(v.raw));
#else
  asm("paddw %1, %0" : "+x"(sum.raw) : "x"(v.raw));
#endif
  return sum;
}
HWY_INLINE VI32 AddTo(VI32 sum, VI32 v) {
#if HWY_TARGET <= HWY_AVX2
  asm("vpaddd %1, %0, %0" : "+v"(sum.raw) : "v"(v.raw));
#else
  asm("paddd %1, %0" : "+x"(sum.raw) : "x"(v.raw));
#endif
  return sum;
}

HWY_INLINE VI16 MulPairs(VU8 w, VI8 x) { return VI16{SKEIN_INT_DOT(maddubs_epi16)(w.raw, x.raw)}; }
HWY_INLINE VI32 AddPairs(VI16 v) { return VI32{SKEIN_INT_DOT(madd_epi16)(v.raw, hn::Set(DI16(), 1).raw)}; }
#endif

#if HWY_TARGET == HWY_AVX3
/// AVX-512 VNNI. Written out, since the target's functions are compiled without it, and Highway's target that
/// has it lets the compiler use AVX-VNNI too, which is another extension.
struct QuadInstruction {
  using Code = VU8;
  static HWY_INLINE VI32 Add(VI32 sum, VU8 w, VI8 x) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "v"(x.raw));
    return sum;
  }
};
#define SKEIN_QUAD_INSTRUCTION 1
#elif HWY_ARCH_ARM_A64
/// dotprod; written out likewise.
struct QuadInstruction {
  using Code = VI8;
  static HWY_INLINE VI32 Add(VI32 sum, VI8 w, VI8 x) {
    asm(".arch armv8.2-a+crypto+dotprod\n\tsdot %0.4s, %1.16b, %2.16b"
        : "+w"(sum.raw)
        : "w"(w.raw), "w"(x.raw));
    return sum;
  }
};
#define SKEIN_QUAD_INSTRUCTION 1
#else
#define SKEIN_QUAD_INSTRUCTION 0
#endif

#if HWY_ARCH_ARM
/// In place of the instruction.
struct QuadOfPairs {
  using Code = VI8;
  static HWY_INLINE VI32 Add(VI32 sum, VI8 w, VI8 x) {
    // Two products fit: 2 * 128 * 127 < 2^15.
    const int16x8_t low = vmull_s8(vget_low_s8(w.raw), vget_low_s8(x.raw));
    const int16x8_t high = vmull_s8(vget_high_s8(w.raw), vget_high_s8(x.raw));
    return VI32{vpadalq_s16(sum.raw, vpaddq_s16(low, high))};
  }
};
#endif

// Dot4: sums of products of unsigned codes (0..15) with activations (-127..127), over at most 8 steps.
// Dot8: the same of signed codes (-128..127). Load adds Dot8::kOffset to them, and so the sums are too large
// by as many sums of the activations. kMostRows: of a tile, whose sums stay in registers. Zeros(sum) is where
// they may begin: at a sum in every lane, or, of kPairs, at the pair of QuantizedRows::zeros.

#if SKEIN_QUAD_INSTRUCTION || HWY_ARCH_ARM
/// Quad::Add adds the four products in a lane of codes with activations. Codes are signed bytes, or unsigned
/// ones.
template <class Quad>
struct DotsOf {
  using Code = typename Quad::Code;
  using DCode = hn::DFromV<Code>;
  struct Dot4 {
    using Sum = VI32;
    static constexpr bool kPairs = false;
    static constexpr size_t kMostRows = kWideIntTileRows;
    static HWY_INLINE Sum Zeros(int32_t sum) { return hn::Set(DI32(), sum); }
    static HWY_INLINE Sum First(VU8 w, VI8 x) { return Next(hn::Zero(DI32()), w, x); }
    static HWY_INLINE Sum Next(Sum sum, VU8 w, VI8 x) { return Quad::Add(sum, hn::BitCast(DCode(), w), x); }
    static HWY_INLINE VI32 Total(Sum sum) { return sum; }
  };
  struct Dot8 {
    using Sum = VI32;
    using Weight = Code;
    static constexpr int32_t kOffset = std::is_same_v<Code, VU8> ? 128 : 0;
    static constexpr bool kPairs = false;
    static constexpr size_t kMostRows = kWideIntTileRows;
    static HWY_INLINE Sum Zeros(int32_t sum) { return hn::Set(DI32(), sum); }
    static HWY_INLINE Weight Load(const uint8_t* codes) {
      VI8 w = LoadCodes(codes);
      if constexpr (kOffset != 0) w = hn::Xor(w, hn::Set(DI8(), -128));
      return hn::BitCast(DCode(), w);
    }
    static HWY_INLINE Sum First(Weight w, VI8 x) { return Next(hn::Zero(DI32()), w, x); }
    static HWY_INLINE Sum Next(Sum sum, Weight w, VI8 x) { return Quad::Add(sum, w, x); }
    static HWY_INLINE VI32 Total(Sum sum) { return sum; }
  };
};
#endif

#if HWY_ARCH_ARM
using PairDots = DotsOf<QuadOfPairs>;
#else
struct PairDots {
  // A pair is at most 2 * 15 * 127, so that 8 of them stay below 2^15 and are widened once.
  struct Dot4 {
    using Sum = VI16;
    static constexpr bool kPairs = true;
    static constexpr size_t kMostRows = kIntTileRows;
    static HWY_INLINE Sum First(VU8 w, VI8 x) { return MulPairs(w, x); }
    static HWY_INLINE Sum Next(Sum sum, VU8 w, VI8 x) { return AddTo(sum, MulPairs(w, x)); }
    // Begins at -8 times the sum of the activations, half of it in each lane: see QuantizedRows::zeros. What
    // follows cannot leave 16 bits: with p of a lane's 16 activations at 127 and all others at -127, and
    // codes of 15, it has at most 1905 p - 508 (2 p - 16) + 8128 <= 30480.
    static HWY_INLINE Sum Zeros(int32_t pair) { return hn::BitCast(DI16(), hn::Set(DI32(), pair)); }
    static HWY_INLINE VI32 Total(Sum sum) { return AddPairs(sum); }
  };
  // |w| times x with the sign of w: a pair is at most 2 * 128 * 127 < 2^15.
  struct Dot8 {
    using Sum = VI32;
    // Each row reads the codes where they lie, which takes no register.
    struct Weight {
      VU8 magnitude;
      const uint8_t* codes;
    };
    static constexpr int32_t kOffset = 0;
    static constexpr bool kPairs = true;
    // 2 x 5 sums, 2 magnitudes, ones and 2 vectors of a row.
    static constexpr size_t kMostRows = 5;
    static HWY_INLINE Weight Load(const uint8_t* codes) {
      return {hn::BitCast(DU8(), hn::Abs(LoadCodes(codes))), codes};
    }
    static HWY_INLINE Sum Next(Sum sum, const Weight& w, VI8 x) { return AddTo(sum, First(w, x)); }
    static HWY_INLINE Sum First(const Weight& w, VI8 x) {
#if HWY_TARGET == HWY_AVX3
      const auto negative = _mm512_movepi8_mask(LoadCodes(w.codes).raw);
      const VI8 turned{_mm512_mask_sub_epi8(x.raw, negative, _mm512_setzero_si512(), x.raw)};
#elif HWY_TARGET == HWY_AVX2
      // GCC would load the codes once, and keep sums in memory instead.
      VI8 turned;
      asm("vpsignb %2, %1, %0"
          : "=x"(turned.raw)
          : "x"(x.raw), "m"(*reinterpret_cast<const __m256i_u*>(w.codes)));
#else
      const VI8 turned{SKEIN_INT_DOT(sign_epi8)(x.raw, LoadCodes(w.codes).raw)};
#endif
      return AddPairs(MulPairs(w.magnitude, turned));
    }
    static HWY_INLINE VI32 Total(Sum sum) { return sum; }
  };
};
#endif

/// use(the form of dots for this processor).
template <class Use>
HWY_INLINE auto WithDots(const Use& use) {
#if SKEIN_QUAD_INSTRUCTION
  if (cpu::UseQuadDots()) return use(DotsOf<QuadInstruction>());
#endif
  return use(PairDots());
}

/// Four activations in every lane.
HWY_INLINE VI8 BroadcastQuad(const int8_t* x) {
  int32_t quad;
  std::memcpy(&quad, x, sizeof quad);
  return hn::BitCast(DI8(), hn::Set(DI32(), quad));
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#undef SKEIN_INT_DOT
#undef SKEIN_QUAD_INSTRUCTION

#endif
