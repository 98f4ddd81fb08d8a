#include "cpu/attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <random>
#include <vector>

#include "core/kv_cache.h"
#include "cpu/kv_row.h"
#include "kv_reference.h"
#include "levels.h"
#include "tiny_model.h"

namespace skein::test {
namespace {

constexpr KVCacheDtype kDtypes[] = {KVCacheDtype::kF32, KVCacheDtype::kF16, KVCacheDtype::kBF16,
                                    KVCacheDtype::kF8E4M3, KVCacheDtype::kI8};

/// Floats from a multiple of 64 bytes on, NaN until written.
class Aligned {
 public:
  explicit Aligned(size_t count) : room_(count + 16, NAN) {}
  float* data() {
    return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(room_.data()) + 63) / 64 * 64);
  }

 private:
  std::vector<float> room_;
};

struct Problem {
  uint32_t group, kv_heads, head_dim, length;
  KVCacheDtype dtype;
  uint32_t window = 0;
  float soft_cap = 0;
  KVCache cache;
  std::vector<int32_t> blocks;
  std::vector<float> q, k, v;  // [length, heads, head_dim], k and v rounded to the cache's type

  Problem(uint32_t g, uint32_t heads, uint32_t dim, uint32_t n, KVCacheDtype type, uint32_t block_size)
      : group(g), kv_heads(heads), head_dim(dim), length(n), dtype(type) {
    const uint32_t num_blocks = (n + block_size - 1) / block_size + 3;
    CHECK_OK(cache.Allocate({num_blocks, block_size, dtype, {{kv_heads, head_dim}}}));
    for (uint32_t b = 0; b < num_blocks; ++b) blocks.push_back(static_cast<int32_t>(num_blocks - 1 - b));
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& to, size_t size) {
      to.resize(size);
      for (float& x : to) x = normal(random);
    };
    fill(q, size_t{n} * group * kv_heads * head_dim);
    fill(k, size_t{n} * kv_heads * head_dim);
    fill(v, size_t{n} * kv_heads * head_dim);
    for (uint32_t part = 0; part < 2; ++part) {
      std::vector<float>& x = part == 0 ? k : v;
      for (uint32_t t = 0; t < n; ++t) {
        for (uint32_t h = 0; h < kv_heads; ++h) {
          float* row = &x[(size_t{t} * kv_heads + h) * head_dim];
          std::byte* head = cache.layer(0).Head(static_cast<uint32_t>(blocks[t / block_size]), part, h);
          cpu::WriteKVRow(cache.layer(0), {head, t % block_size, 0}, row, head_dim);
          ReadKVRow(cache.layer(0), {head, t % block_size, 0}, head_dim, row);
        }
      }
    }
  }

  /// `out`: [num_tokens, group, head_dim].
  cpu::AttentionItem Item(uint32_t kv_head, uint32_t begin, uint32_t num_tokens, float* out) const {
    const size_t stride = size_t{group} * kv_heads * head_dim;
    return {.shape = {group, head_dim, head_dim},
            .layer = cache.layer(0),
            .block_ids = blocks.data(),
            .kv_head = kv_head,
            .scale = 0.3f,
            .soft_cap = soft_cap,
            .window = window,
            .q = &q[begin * stride + size_t{kv_head} * group * head_dim],
            .q_stride = stride,
            .out = out,
            .out_stride = size_t{group} * head_dim,
            .first_position = begin,
            .num_tokens = num_tokens};
  }

  /// Tokens [begin, end) of one KV head, in items of at most `step` tokens.
  std::vector<float> Compute(uint32_t kv_head, uint32_t begin, uint32_t end, uint32_t step) const {
    Aligned scratch(cpu::AttentionScratchBytes({group, head_dim, head_dim}) / sizeof(float));
    std::vector<float> out(size_t{end - begin} * group * head_dim);
    for (uint32_t t = begin; t < end; t += step)
      cpu::AttentionBlock(
          Item(kv_head, t, std::min(step, end - t), &out[size_t{t - begin} * group * head_dim]),
          scratch.data());
    return out;
  }

  /// Checks tokens (ascending) by what the tallest items that hold them give.
  void CheckTokens(uint32_t kv_head, std::initializer_list<uint32_t> tokens) const {
    const auto step = static_cast<uint32_t>(cpu::AttentionShape{group, head_dim, head_dim}.tokens_per_item());
    std::vector<float> item;
    uint32_t begin = 0;
    for (const uint32_t t : tokens) {
      if (item.empty() || t - begin >= step) {
        begin = t / step * step;
        item = Compute(kv_head, begin, std::min(length, begin + step), step);
      }
      CheckToken(kv_head, t, &item[size_t{t - begin} * group * head_dim]);
    }
  }

  void CheckToken(uint32_t kv_head, uint32_t t, const float* got) const {
    for (uint32_t g = 0; g < group; ++g) {
      const float* mine = &q[((size_t{t} * kv_heads + kv_head) * group + g) * head_dim];
      std::vector<double> weights(t + 1, -1e300);
      double total = 0, high = -1e300;
      const uint32_t first = window == 0 || t < window ? 0 : t - window + 1;
      for (uint32_t j = first; j <= t; ++j) {
        double dot = 0;
        for (uint32_t i = 0; i < head_dim; ++i)
          dot += double{mine[i]} * k[(size_t{j} * kv_heads + kv_head) * head_dim + i];
        weights[j] = dot * double{0.3f};
        if (soft_cap > 0) weights[j] = soft_cap * std::tanh(weights[j] / soft_cap);
        high = std::max(high, weights[j]);
      }
      for (double& w : weights) total += w = std::exp(w - high);
      for (uint32_t i = 0; i < head_dim; ++i) {
        double want = 0;
        for (uint32_t j = 0; j <= t; ++j)
          want += weights[j] / total * v[(size_t{j} * kv_heads + kv_head) * head_dim + i];
        CHECK(std::abs(got[g * head_dim + i] - want) < 3e-6);
      }
    }
  }
};

/// Quantized rows are as near as their codes can be, those of small and of extreme numbers too.
TEST(QuantizedRowsAreNear) {
  ForEachLevel([] {
    for (const KVCacheDtype dtype : {KVCacheDtype::kF8E4M3, KVCacheDtype::kI8}) {
      KVCache cache;
      CHECK_OK(cache.Allocate({2, 3, dtype, {{1, 77, 1, 30}}}));
      const KVCacheLayer& layer = cache.layer(0);
      CHECK_EQ(layer.HeadBytes(), size_t{232 + 6 * 4});
      std::mt19937 random(5);
      std::normal_distribution<float> normal;
      for (const float size : {1.0f, 1e-20f, 1e30f, 1e-35f, 0.0f, INFINITY}) {
        for (const auto& [first, n] : {std::pair<size_t, size_t>{0, 47}, {47, 30}}) {
          std::vector<float> x(n), got(n);
          float largest = 0;
          for (float& v : x) largest = std::max(largest, std::abs(v = normal(random) * size));
          const cpu::KVRowRun run{layer.Head(1, 0, 0), 2, first};
          cpu::WriteKVRow(layer, run, x.data(), n);
          ReadKVRow(layer, run, n, got.data());
          for (size_t i = 0; i < n; ++i) {
            const bool i8 = dtype == KVCacheDtype::kI8;
            const float step = i8 ? largest / 254 : std::max(std::abs(x[i]) / 16, largest / (448 * 1024));
            if (std::isfinite(size)) {
              CHECK(std::abs(got[i] - x[i]) <= std::max(step * 1.0001f, 1e-30f));
            } else {
              CHECK(std::isnan(got[i]));
            }
          }
        }
      }
    }
  });
}

TEST(AttentionMatchesPlainSoftmax) {
  ForEachLevel([] {
    for (const KVCacheDtype dtype : kDtypes) {
      for (const auto& [group, kv_heads, head_dim, block_size] :
           {std::array<uint32_t, 4>{4, 2, 64, 16}, {3, 1, 20, 8}, {1, 2, 72, 16}, {7, 1, 24, 5}}) {
        const Problem p(group, kv_heads, head_dim, 600, dtype, block_size);
        p.CheckTokens(kv_heads - 1, {0, 1, 15, 63, 64, 100, 511, 512, 599});
      }
    }
  });
}

TEST(WindowsAndCapsMatchPlainSoftmax) {
  ForEachLevel([] {
    for (const uint32_t window : {1u, 7u, 64u, 100u, 513u, 5000u}) {
      for (const float soft_cap : {0.0f, 1.5f}) {
        Problem p(3, 1, 24, 1200, KVCacheDtype::kBF16, 16);
        p.window = window;
        p.soft_cap = soft_cap;
        p.CheckTokens(0, {0, 6, 63, 64, 127, 512, 575, 1023, 1199});
      }
    }
  });
}

/// Splits computed one by one, in any order, and merged.
TEST(SplitsGiveTheBitsOfAWhole) {
  ForEachLevel([] {
    for (const auto& [group, head_dim] : {std::array<uint32_t, 2>{4, 64}, {3, 20}}) {
      Problem p(group, 1, head_dim, 1700, KVCacheDtype::kBF16, 16);
      for (const uint32_t window : {0u, 600u}) {
        p.window = window;
        for (const auto& [begin, count] : {std::array<uint32_t, 2>{1699, 1}, {1020, 9}, {300, 2}}) {
          const std::vector<float> want = p.Compute(0, begin, begin + count, count);
          std::vector<float> got(want.size());
          const cpu::AttentionItem item = p.Item(0, begin, count, got.data());
          Aligned scratch(cpu::AttentionScratchBytes(item.shape) / sizeof(float));
          const auto [first, splits] = cpu::SplitsOf(item);
          const size_t floats = cpu::SplitSumsFloats(item);
          Aligned sums(splits * floats);
          for (size_t i = splits; i-- > 0;)
            cpu::AttentionSplit(item, first + i, sums.data() + i * floats, scratch.data());
          cpu::MergeAttentionSplits(item, sums.data(), scratch.data());
          CHECK(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)) == 0);
        }
      }
    }
  });
}

/// What lies wholly outside the windows of an item is never read: it may be anything.
TEST(TilesOutsideTheWindowAreSkipped) {
  ForEachLevel([] {
    Problem p(2, 1, 16, 900, KVCacheDtype::kF32, 16);
    p.window = 100;
    const std::vector<float> want = p.Compute(0, 800, 820, 20);
    for (uint32_t t = 0; t < 640; ++t) {
      std::byte* key = p.cache.layer(0).Head(static_cast<uint32_t>(p.blocks[t / 16]), 0, 0);
      std::byte* value = p.cache.layer(0).Head(static_cast<uint32_t>(p.blocks[t / 16]), 1, 0);
      std::memset(key, 0xff, 16 * 16 * sizeof(float));
      std::memset(value, 0xff, 16 * 16 * sizeof(float));
    }
    const std::vector<float> got = p.Compute(0, 800, 820, 20);
    CHECK(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)) == 0);
  });
}

TEST(AttentionIsTheSameInAnyChunk) {
  ForEachLevel([] {
    // Groups that make few, many and odd numbers of rows; heads that are whole pairs of vectors and that are
    // not.
    using Shapes = std::array<std::array<uint32_t, 2>, 5>;
    constexpr Shapes kShapes = kEmulated ? Shapes{{{4, 16}, {4, 40}, {1, 24}, {7, 8}, {9, 12}}}
                                         : Shapes{{{4, 64}, {4, 40}, {1, 96}, {7, 32}, {9, 20}}};
    for (const auto& [group, dim] : kShapes) {
      for (const KVCacheDtype dtype : kDtypes) {
        Problem p(group, 1, dim, 540, dtype, 16);
        const auto tallest = static_cast<uint32_t>(cpu::AttentionShape{group, dim, dim}.tokens_per_item());
        for (const uint32_t window : {0u, 5u, 70u, 520u}) {
          p.window = window;
          for (const uint32_t begin : {0u, 50u, 509u}) {
            const uint32_t first = begin / tallest * tallest;
            const std::vector<float> tall = p.Compute(0, first, begin + 20, tallest);
            for (const uint32_t step : {1u, 3u, 6u}) {
              const std::vector<float> part = p.Compute(0, begin, begin + 20, std::min(step, tallest));
              CHECK(std::memcmp(part.data(), &tall[size_t{begin - first} * group * dim],
                                part.size() * sizeof(float)) == 0);
            }
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace skein::test
