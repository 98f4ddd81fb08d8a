#include "cpu/draw.h"

#include <algorithm>

#include "cpu/philox.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/draw.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/simd-inl.h"
#include "hwy/contrib/math/math-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

using DU32 = hn::RebindToUnsigned<DF>;
using DI32 = hn::RebindToSigned<DF>;
using DU64 = hn::RepartitionToWide<DU32>;
using VU64 = hn::Vec<DU64>;

/// First words of Philox 2x32-10 at counters {id, key.counter}, ids in the low halves of the lanes; garbage
/// in the high halves.
HWY_INLINE VU64 PhiloxWords(VU64 ids, cpu::NoiseKey key) {
  const DU64 d;
  const DU32 d32;
  const auto multiplier = hn::Set(d32, cpu::kPhilox2Multiplier);
  VU64 word = ids, other = hn::Set(d, key.counter);
  uint32_t round_key = key.key;
  for (int round = 0; round < 10; ++round) {
    const VU64 product = hn::MulEven(hn::BitCast(d32, word), multiplier);
    word = hn::Xor(hn::Xor(hn::ShiftRight<32>(product), hn::Set(d, round_key)), other);
    other = product;
    round_key += cpu::kPhiloxWeyl;
  }
  return word;
}

/// Of the ids from `first` on.
HWY_INLINE VF Noise(int32_t first, cpu::NoiseKey key) {
  const DF d;
  const DU32 d32;
  const DU64 d64;
  const VU64 lane = hn::Iota(d64, 0);
  const VU64 even = hn::Add(hn::Add(lane, lane), hn::Set(d64, static_cast<uint32_t>(first)));
  const VU64 odd = hn::Add(even, hn::Set(d64, 1));
  const auto bits = hn::OddEven(hn::BitCast(d32, hn::ShiftLeft<32>(PhiloxWords(odd, key))),
                                hn::BitCast(d32, PhiloxWords(even, key)));
  // (bits + 1/2) / 2^32, fine near 0, where the large noise is, and below 1. The halves convert exactly.
  const VF high = hn::ConvertTo(d, hn::BitCast(DI32(), hn::ShiftRight<16>(bits)));
  const VF low = hn::ConvertTo(d, hn::BitCast(DI32(), hn::And(bits, hn::Set(d32, 0xffff))));
  const VF sum =
      hn::MulAdd(high, hn::Set(d, 0x1p-16f), hn::MulAdd(low, hn::Set(d, 0x1p-32f), hn::Set(d, 0x1p-33f)));
  const VF u = hn::Min(sum, hn::Set(d, 1 - 0x1p-24f));
  return hn::Neg(hn::Log(d, hn::Neg(hn::Log1p(d, hn::Neg(u)))));
}

/// More than any noise: 33 log 2 = 22.9.
constexpr float kNoiseBound = 24;
/// Above this scores are too coarse for the bound to tell.
constexpr float kCoarse = 0x1p20f;

void DrawBestImpl(const float* logits, size_t n, int32_t first_id, float factor, cpu::NoiseKey key,
                  cpu::Draw* best) {
  constexpr size_t kPiece = 16 * kLanes;
  const DF d;
  const DI32 d32;
  const VF f = hn::Set(d, factor), lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  for (size_t begin = 0; begin < n; begin += kPiece) {
    const size_t count = std::min(kPiece, n - begin);
    const auto load = [&](size_t i) HWY_ATTR {
      const float* p = logits + begin + i;
      return i + kLanes <= count
                 ? LoadF32(p)
                 : hn::IfThenElse(hn::FirstN(d, count - i), LoadPartial(p, count - i), lowest);
    };
    VF high = lowest;
    for (size_t i = 0; i < count; i += kLanes) high = hn::Max(high, load(i));
    const float bound = hn::GetLane(hn::MaxOfLanes(d, high)) * factor;
    if (bound < kCoarse && bound + kNoiseBound < best->score) continue;
    VF score = lowest;
    auto id = hn::Set(d32, std::numeric_limits<int32_t>::max());
    for (size_t i = 0; i < count; i += kLanes) {
      const auto first = first_id + static_cast<int32_t>(begin + i);
      const VF s = hn::MulAdd(load(i), f, Noise(first, key));
      const auto better = hn::Gt(s, score);
      score = hn::IfThenElse(better, s, score);
      id = hn::IfThenElse(hn::RebindMask(d32, better), hn::Iota(d32, first), id);
    }
    const VF top = hn::MaxOfLanes(d, score);
    const auto of_top = hn::IfThenElse(hn::RebindMask(d32, hn::Eq(score, top)), id,
                                       hn::Set(d32, std::numeric_limits<int32_t>::max()));
    best->Take({hn::GetLane(top), hn::GetLane(hn::MinOfLanes(d32, of_top))});
  }
}

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(DrawBestImpl);
namespace cpu {

NoiseKey NoiseKeyOf(uint32_t seed_low, uint32_t seed_high, uint32_t choice, uint32_t position) {
  const auto words = Philox({choice, position, 0, 0}, {seed_low, seed_high});
  return {words[0], words[1]};
}

void DrawBest(const float* logits, size_t n, int32_t first_id, float factor, NoiseKey key, Draw* best) {
  HWY_DYNAMIC_DISPATCH(DrawBestImpl)(logits, n, first_id, factor, key, best);
}

}  // namespace cpu
}  // namespace skein
#endif
