#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "core/kv_cache.h"
#include "cpu/absorb.h"
#include "cpu/float_panels.h"
#include "cpu/kv_row.h"
#include "kv_reference.h"
#include "levels.h"
#include "op_backend.h"

namespace skein::test {
namespace {

TEST(AbsorbMatchesPlainSums) {
  ForEachLevel([] {
    for (const Dtype dtype : {Dtype::kF32, Dtype::kF16, Dtype::kBF16}) {
      for (const auto& [rows, depth, cols] :
           {std::array<size_t, 3>{1, 1, 1}, {4, 20, 33}, {7, 128, 512}, {9, 64, 77}}) {
        std::mt19937 random(6);
        const RandomWeight w(depth, cols, dtype, random);
        TestMatrix x(rows, depth, random), out(rows, cols), alone(1, cols);
        cpu::AbsorbRows(x.data.data(), x.stride, rows, w.row_view(), out.data.data(), out.stride);
        for (size_t r = 0; r < rows; ++r) {
          for (size_t c = 0; c < cols; ++c) {
            double want = 0;
            for (size_t i = 0; i < depth; ++i) want += double{x.row(r)[i]} * w.row(i)[c];
            CHECK(std::abs(out.row(r)[c] - want) <= 4e-5 * std::sqrt(static_cast<double>(depth)));
          }
          cpu::AbsorbRows(x.row(r), x.stride, 1, w.row_view(), alone.data.data(), alone.stride);
          CHECK(SameRow(out, r, alone, 0));
        }
      }
    }
  });
}

/// A sequence over a latent cache, and kv_b_proj.
struct Latent {
  LatentShape shape;
  uint32_t heads, length;
  KVCacheDtype dtype;
  std::mt19937 random{12};
  OpBackend room{700};
  Backend* backend;
  KVCache cache;
  Op absorb, attend, expand;
  std::vector<int32_t> blocks;
  RandomWeight weight;
  std::vector<std::byte> packed_values;
  TestMatrix q, latent, key_rope;  // [length, …] of one sequence

  Latent(LatentShape s, uint32_t h, uint32_t n, KVCacheDtype type)
      : shape(s),
        heads(h),
        length(n),
        dtype(type),
        weight(size_t{h} * (s.nope_dim + s.value_dim), s.latent_dim, Dtype::kBF16, random, 0.2f),
        q(n, size_t{h} * (s.nope_dim + s.rope_dim), random),
        latent(n, s.latent_dim, random),
        key_rope(n, s.rope_dim, random) {
    const uint32_t num_blocks = (n + 15) / 16 + 2;
    room.spec().kv_cache = {num_blocks, 16, dtype, {{1, s.latent_dim + s.rope_dim, 1, s.rope_dim}}};
    CHECK_OK(cache.Allocate(room.spec().kv_cache));
    for (uint32_t b = 0; b < num_blocks; ++b) blocks.push_back(static_cast<int32_t>(num_blocks - 1 - b));
    const int64_t w = room.Weight({weight.rows, weight.cols}, Dtype::kBF16);
    const auto op = [&](OpKind kind, std::array<int64_t, 3> inputs) {
      Op made{.kind = kind, .inputs = {inputs[0], inputs[1], inputs[2]}, .weight = w};
      made.num_heads = heads;
      made.latent = s;
      made.scale = 0.15f;
      return made;
    };
    absorb = op(OpKind::kAbsorbKey, {room.Value(static_cast<uint32_t>(q.width)), -1, -1});
    const int64_t absorbed = room.Add(absorb);
    attend = op(OpKind::kLatentAttention, {absorbed, room.Value(s.latent_dim), room.Value(s.rope_dim)});
    expand = op(OpKind::kExpandValue, {room.Add(attend), -1, -1});
    room.Add(expand);
    backend = &room.Start();
    // What the cache keeps is what the reference reads.
    std::byte* head = cache.layer(0).Head(0, 0, 0);
    for (const auto& [m, first] : {std::pair{&latent, 0u}, {&key_rope, s.latent_dim}}) {
      for (uint32_t t = 0; t < length; ++t) {
        cpu::WriteKVRow(cache.layer(0), {head, 0, first}, m->row(t), m->width);
        ReadKVRow(cache.layer(0), {head, 0, first}, m->width, m->row(t));
      }
    }
  }

  /// The value rows of each head, packed.
  WeightView values() {
    const size_t head_bytes = cpu::FloatPanelBytes(weight.dtype, shape.value_dim, shape.latent_dim);
    const size_t row_bytes = weight.cols * DtypeBytes(weight.dtype);
    packed_values.resize(heads * head_bytes);
    for (size_t h = 0; h < heads; ++h) {
      const size_t first = h * (shape.nope_dim + shape.value_dim) + shape.nope_dim;
      cpu::PackFloatRows(weight.data.data() + first * row_bytes, weight.dtype, shape.value_dim, weight.cols,
                         0, packed_values.data() + h * head_bytes);
    }
    return {.data = packed_values.data(),
            .dtype = weight.dtype,
            .rows = size_t{heads} * shape.value_dim,
            .cols = weight.cols,
            .layout = WeightLayout::kFloatPanels,
            .partials = static_cast<uint32_t>(PartialSums(weight.cols))};
  }

  /// Tokens [begin, end), those before having been computed.
  TestMatrix Compute(uint32_t begin, uint32_t end) {
    const int32_t starts[] = {0, static_cast<int32_t>(end - begin)},
                  computed[] = {static_cast<int32_t>(begin)},
                  block_start[] = {0, static_cast<int32_t>(blocks.size())};
    StepInput input;
    input.num_tokens = end - begin;
    input.num_seqs = 1;
    input.query_start = starts;
    input.num_computed_tokens = computed;
    input.block_start = block_start;
    input.block_ids = blocks.data();
    const size_t rows = end - begin;
    TestMatrix absorbed(rows, size_t{heads} * (shape.latent_dim + shape.rope_dim)),
        attended(rows, size_t{heads} * shape.latent_dim), out(rows, size_t{heads} * shape.value_dim);
    backend->BeginStep(input);
    backend->AbsorbKey(absorb, weight.row_view(), q.view(begin, end), absorbed.view());
    backend->LatentAttention(attend, cache.layer(0), absorbed.view(), latent.view(begin, end),
                             key_rope.view(begin, end), attended.view());
    backend->ExpandValue(expand, values(), attended.view(), out.view());
    return out;
  }

  /// The unabsorbed form: keys and values of every head made from the latent rows.
  void Check(uint32_t t, uint32_t head, const float* got) const {
    const size_t first = size_t{head} * (shape.nope_dim + shape.value_dim);
    const auto expanded = [&](uint32_t position, size_t row) {
      double sum = 0;
      for (uint32_t i = 0; i < shape.latent_dim; ++i)
        sum += double{weight.row(first + row)[i]} * latent.row(position)[i];
      return sum;
    };
    const float* query = q.row(t) + size_t{head} * (shape.nope_dim + shape.rope_dim);
    std::vector<double> shares(t + 1);
    double high = -1e300, total = 0;
    for (uint32_t p = 0; p <= t; ++p) {
      double dot = 0;
      for (uint32_t i = 0; i < shape.nope_dim; ++i) dot += query[i] * expanded(p, i);
      for (uint32_t i = 0; i < shape.rope_dim; ++i)
        dot += double{query[shape.nope_dim + i]} * key_rope.row(p)[i];
      high = std::max(high, shares[p] = dot * double{0.15f});
    }
    for (double& s : shares) total += s = std::exp(s - high);
    for (uint32_t i = 0; i < shape.value_dim; ++i) {
      double want = 0;
      for (uint32_t p = 0; p <= t; ++p) want += shares[p] / total * expanded(p, shape.nope_dim + i);
      CHECK(std::abs(got[i] - want) < 2e-5);
    }
  }
};

TEST(LatentAttentionMatchesHeadsMadeFromIt) {
  ForEachLevel([] {
    for (const KVCacheDtype dtype : {KVCacheDtype::kF32, KVCacheDtype::kF16, KVCacheDtype::kBF16,
                                     KVCacheDtype::kF8E4M3, KVCacheDtype::kI8}) {
      for (const auto& [shape, heads] :
           {std::pair<LatentShape, uint32_t>{{24, 8, 20, 36}, 5}, {{16, 10, 33, 24}, 20}}) {
        Latent l(shape, heads, 150, dtype);
        TestMatrix out = l.Compute(0, 150);
        for (const uint32_t t : {0u, 1u, 15u, 63u, 64u, 149u}) {
          for (const uint32_t h : {0u, heads - 1}) l.Check(t, h, out.row(t) + size_t{h} * shape.value_dim);
        }
      }
    }
  });
}

TEST(LatentAttentionIsTheSameInAnyChunk) {
  static constexpr uint32_t kLength = kEmulated ? 530 : 600;
  ForEachLevel([] {
    // A row of whole pairs of vectors, and one that is not; from 512 on single tokens are split over threads.
    for (const LatentShape& shape : {LatentShape{16, 32, 20, 64}, LatentShape{16, 8, 20, 36}}) {
      for (const KVCacheDtype dtype : {KVCacheDtype::kBF16, KVCacheDtype::kI8}) {
        Latent l(shape, kEmulated ? 5 : 16, kLength, dtype);
        TestMatrix whole = l.Compute(0, kLength);
        for (const uint32_t step : {1u, 7u, 64u}) {
          for (uint32_t begin = step == 1 ? 500 : 0; begin < kLength; begin += step) {
            const uint32_t end = std::min(kLength, begin + step);
            const TestMatrix part = l.Compute(begin, end);
            for (uint32_t t = begin; t < end; ++t) CHECK(SameRow(whole, t, part, t - begin));
          }
        }
      }
    }
  });
}

// Ops: 0 the queries, 1 absorbKey, 2 and 3 the row's parts, 4 latentAttention, 5 expandValue.
void ExpectRefused(const std::function<void(ProgramSpec&)>& change, const std::string& words) {
  Latent l({24, 8, 20, 36}, 5, 20, KVCacheDtype::kF32);
  ProgramSpec spec = l.room.spec();
  change(spec);
  Program program;
  const Status status = Program::Create(spec, &program);
  CHECK_EQ(static_cast<int>(status.code()), static_cast<int>(Code::kInvalidArgument));
  if (status.message().find(words) == std::string::npos) CHECK_EQ(status.message(), words);
}

TEST(WrongLatentShapesAreRefusedByOp) {
  ExpectRefused([](ProgramSpec& s) { s.ops[1].latent.nope_dim = 25; },
                "op 1 (absorbKey): weight 'w0' is [220, 36]");
  ExpectRefused([](ProgramSpec& s) { s.ops[1].latent.rope_dim = 9; }, "5 heads of 33 need 165");
  ExpectRefused([](ProgramSpec& s) { s.ops[1].num_heads = 0; }, "0 heads");
  ExpectRefused([](ProgramSpec& s) { s.ops[4].inputs[1] = s.ops[4].inputs[2]; }, "1 heads of 36 need 36");
  ExpectRefused([](ProgramSpec& s) { s.kv_cache.layers[0] = {1, 43, 1, 8}; },
                "needs a cache of 1 x 1 heads of 44, 8 of them rotated, layer 0 has 1 x 1 heads of 43, 8 of");
  ExpectRefused([](ProgramSpec& s) { s.kv_cache.layers[0].num_parts = 2; }, "has 2 x 1 heads of 44");
  ExpectRefused([](ProgramSpec& s) { s.ops[5].latent.latent_dim = 35; }, "op 5 (expandValue)");
}

}  // namespace
}  // namespace skein::test
