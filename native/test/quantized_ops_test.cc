#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "cpu/float_panels.h"
#include "cpu/int_linear.h"
#include "cpu/part_block.h"
#include "int_panels.h"
#include "levels.h"
#include "op_backend.h"

/// Operations of the backend whose weights are quantized, against the kernels called alone.
namespace skein::test {
namespace {

constexpr Dtype kF32 = Dtype::kF32, kF16 = Dtype::kF16;

/// Float panels that own their memory.
struct FloatWeight {
  FloatWeight(size_t rows, size_t cols, std::mt19937& random)
      : plain(rows, cols, Dtype::kBF16, random, 0.1f),
        panels(cpu::FloatPanelBytes(Dtype::kBF16, rows, cols) + 64) {
    at = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(panels.data()) + 63) / 64 * 64);
    cpu::PackFloatRows(plain.data.data(), Dtype::kBF16, rows, cols, 0, at);
  }
  WeightView view() const {
    return {.data = at,
            .dtype = Dtype::kBF16,
            .rows = plain.rows,
            .cols = plain.cols,
            .layout = WeightLayout::kFloatPanels,
            .partials = static_cast<uint32_t>(PartialSums(plain.cols))};
  }
  RandomWeight plain;
  std::vector<std::byte> panels;
  std::byte* at;
};

/// x weight^T of rows [begin, end), all in one block.
std::vector<float> Alone(const TestMatrix& x, size_t begin, size_t end, const WeightView& w) {
  std::vector<float> room(cpu::PartScratchBytes() / sizeof(float) + 16), out((end - begin) * w.rows);
  auto* scratch = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(room.data()) + 63) / 64 * 64);
  const OwnedRows codes(x.row(begin), x.stride, end - begin, w);
  const Matrix in{const_cast<float*>(x.row(begin)), end - begin, x.width, x.stride};
  cpu::PartBlock(in, codes.get(), {w, nullptr, {out.data(), end - begin, w.rows, w.rows}}, 0, end - begin, 0,
                 w.rows, scratch);
  return out;
}

TEST(LinearsOfOneInputMayBeOfAnyKind) {
  ForEachLevel([] {
    std::mt19937 random(1);
    constexpr size_t kWidth = 512, kRows = 300;
    OpBackend ops(kRows, 3);
    const int64_t x = ops.Value(kWidth);
    ops.Add({.kind = OpKind::kLinear, .inputs = {x, -1, -1}, .weight = ops.Weight({8, kWidth}, kF32)});
    Backend& backend = ops.Start();
    const IntWeight int4({{4, 32, kF16, false, false}, 200, kWidth}, random);
    const FloatWeight floats(90, kWidth, random);
    const IntWeight ordered({{4, 128, kF16, true, false}, 70, kWidth, true}, random);
    const IntWeight row_scaled({{8, kWidth, kF32, false, false}, 50, kWidth, false, true}, random);
    const IntWeight int8({{8, 128, kF16, false, false}, 33, kWidth}, random);
    const std::array weights = {floats.view(), int4.view(), ordered.view(), row_scaled.view(), int8.view()};
    TestMatrix in(kRows, kWidth, random);
    for (const size_t rows : {1, 2, 7, 16, 64, 145, 300}) {
      std::vector<TestMatrix> outs;
      std::vector<LinearPart> parts;
      for (const WeightView& w : weights) outs.emplace_back(rows, w.rows);
      for (size_t i = 0; i < weights.size(); ++i) parts.push_back({weights[i], nullptr, outs[i].view()});
      const size_t first = kRows - rows;
      backend.Linear(in.view(first, kRows), parts);
      for (size_t i = 0; i < weights.size(); ++i) {
        const std::vector<float> want = Alone(in, first, kRows, weights[i]);
        for (size_t r = 0; r < rows; ++r)
          CHECK(std::memcmp(outs[i].row(r), &want[r * weights[i].rows], weights[i].rows * 4) == 0);
      }
    }
  });
}

/// GatedLinear and the linear that reads it, against the same in parts.
void CheckGated(const WeightView& gate, const WeightView& up, const WeightView& down, std::mt19937& random) {
  constexpr size_t kRows = 150;
  OpBackend ops(kRows, 3);
  const int64_t x = ops.Value(static_cast<uint32_t>(gate.cols));
  const auto linear = [&](int64_t in, const WeightView& w) {
    return ops.Add(
        {.kind = OpKind::kLinear, .inputs = {in, -1, -1}, .weight = ops.Weight({w.rows, w.cols}, kF32)});
  };
  const int64_t a = linear(x, gate), b = linear(x, up);
  linear(ops.Add({.kind = OpKind::kSiluMul, .inputs = {a, b, -1}}), down);
  Backend& backend = ops.Start();
  TestMatrix in(kRows, gate.cols, random);
  for (const size_t rows : {1, 5, 23, 40, 150}) {
    TestMatrix gates(rows, gate.rows), ups(rows, gate.rows), act(rows, gate.rows), out(rows, down.rows);
    TestMatrix want(rows, down.rows);
    const Matrix view = in.view(kRows - rows, kRows);
    const LinearPart both[] = {{gate, nullptr, gates.view()}, {up, nullptr, ups.view()}};
    for (const OpKind product : {OpKind::kSiluMul, OpKind::kGeluTanhMul}) {
      backend.Linear(view, both);
      product == OpKind::kSiluMul ? backend.SiluMul(gates.view(), ups.view(), act.view())
                                  : backend.GeluTanhMul(gates.view(), ups.view(), act.view());
      const LinearPart last[] = {{down, nullptr, want.view()}}, fused[] = {{down, nullptr, out.view()}};
      backend.Linear(act.view(), last);
      for (const WeightView* reader : {&down, static_cast<const WeightView*>(nullptr)}) {
        TestMatrix room(rows, gate.rows);
        backend.GatedLinear(view, {both[0], both[1], product, reader}, room.view());
        backend.Linear(room.view(), fused);
        for (size_t r = 0; r < rows; ++r) CHECK(SameRow(out, r, want, r));
      }
    }
  }
}

TEST(GatedLinearsAreWhatTheirPartsAre) {
  ForEachLevel([] {
    std::mt19937 random(4);
    constexpr size_t kHidden = 256, kInter = 360;
    const auto ints = [&](cpu::IntFormat format, size_t rows, size_t cols, bool ordered = false,
                          bool scaled = false) {
      return IntWeight({format, rows, cols, ordered, scaled}, random);
    };
    const cpu::IntFormat int4{4, 32, kF16, false, false}, int8{8, 128, kF16, true, false};
    const IntWeight gate = ints(int4, kInter, kHidden), up = ints(int4, kInter, kHidden),
                    down = ints(int4, kHidden, kInter), ordered = ints(int8, kHidden, kInter, true),
                    scaled = ints({8, kInter, kF32, false, false}, kHidden, kInter, false, true),
                    gate_ordered = ints(int8, kInter, kHidden, true), up8 = ints(int8, kInter, kHidden);
    const FloatWeight float_gate(kInter, kHidden, random), float_up(kInter, kHidden, random),
        float_down(kHidden, kInter, random);
    CheckGated(gate.view(), up.view(), down.view(), random);
    CheckGated(gate.view(), up.view(), ordered.view(), random);
    CheckGated(gate.view(), up.view(), scaled.view(), random);
    CheckGated(gate.view(), up.view(), float_down.view(), random);
    CheckGated(gate.view(), up8.view(), down.view(), random);
    CheckGated(gate_ordered.view(), up8.view(), down.view(), random);
    CheckGated(float_gate.view(), float_up.view(), down.view(), random);
    CheckGated(float_gate.view(), up.view(), float_down.view(), random);
  });
}

TEST(EmbeddedRowsAreUnpacked) {
  ForEachLevel([] {
    std::mt19937 random(2);
    OpBackend ops(9);
    const Op embed{.kind = OpKind::kEmbed, .weight = ops.Weight({4, 96}, kF32), .scale = 2};
    ops.Add(embed);
    Backend& backend = ops.Start();
    const IntWeight w({{4, 32, kF16, true, false}, 40, 96}, random);
    const std::array<int32_t, 9> ids = {0, 39, 7, 16, 15, 8, 3, 3, 31};
    TestMatrix out(9, 96);
    backend.Embed(embed, w.view(), ids.data(), out.view());
    backend.Flush();
    std::vector<float> row(96);
    for (size_t r = 0; r < 9; ++r) {
      cpu::UnpackIntRow(w.view(), static_cast<size_t>(ids[r]), row.data());
      for (size_t c = 0; c < 96; ++c) CHECK_EQ(out.row(r)[c], row[c] * 2);
    }
  });
}

/// Experts with formats of every kind: `ordered` gives each matrix an act-order of its own.
void CheckExperts(bool ordered) {
  std::mt19937 random(3);
  constexpr size_t kExperts = 4, kHidden = 256, kInter = 96, kTokens = 200, kTopK = 2;
  OpBackend ops(kTokens, 3);
  const int64_t x = ops.Value(kHidden);
  Op choose{.kind = OpKind::kRoute, .inputs = {ops.Value(kExperts), -1, -1}};
  choose.route.top_k = kTopK;
  Op op{.kind = OpKind::kExperts, .inputs = {x, ops.Add(choose), -1}};
  for (uint32_t e = 0; e < kExperts; ++e) {
    op.experts.push_back({e, ops.Weight({kInter, kHidden}, kF32), ops.Weight({kInter, kHidden}, kF32),
                          ops.Weight({kHidden, kInter}, kF32)});
  }
  ops.Add(op);
  Backend& backend = ops.Start();
  std::vector<IntWeight> weights;
  for (size_t i = 0; i < 3 * kExperts; ++i) {
    const size_t rows = i % 3 == 2 ? kHidden : kInter, cols = i % 3 == 2 ? kInter : kHidden;
    weights.emplace_back(IntCase{{4, 32, kF16, false, false}, rows, cols, ordered}, random);
  }
  std::vector<ExpertWeights> experts;
  for (uint32_t e = 0; e < kExperts; ++e)
    experts.push_back({e, weights[3 * e].view(), weights[3 * e + 1].view(), weights[3 * e + 2].view()});
  TestMatrix in(kTokens, kHidden, random), route(kTokens, 2 * kTopK, random), out(kTokens, kHidden);
  for (size_t t = 0; t < kTokens; ++t) {
    route.row(t)[0] = static_cast<float>(t % 3);
    route.row(t)[1] = 3;
  }
  CHECK_OK(backend.Experts({experts}, in.view(), route.view(), out.view()));
  for (size_t t = 0; t < kTokens; t += 13) {
    std::vector<double> want(kHidden);
    double size = 0;
    for (size_t k = 0; k < kTopK; ++k) {
      const ExpertWeights& e = experts[static_cast<size_t>(route.row(t)[k])];
      const std::vector<float> gate = Alone(in, t, t + 1, e.gate), up = Alone(in, t, t + 1, e.up);
      TestMatrix act(1, kInter);
      for (size_t i = 0; i < kInter; ++i) act.row(0)[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
      const std::vector<float> down = Alone(act, 0, 1, e.down);
      for (size_t i = 0; i < kHidden; ++i) {
        want[i] += double{route.row(t)[kTopK + k]} * down[i];
        size = std::max(size, std::abs(double{down[i]}));
      }
    }
    // The activations are rounded again after a product that may differ in its last bit.
    for (size_t i = 0; i < kHidden; ++i) CHECK(std::abs(out.row(t)[i] - want[i]) <= 0.03 * size);
    // A token alone gives the same bits.
    TestMatrix alone(1, kHidden);
    CHECK_OK(backend.Experts({experts}, in.view(t, t + 1), route.view(t, t + 1), alone.view()));
    CHECK(SameRow(alone, 0, out, t));
  }
}

TEST(ExpertsMayBeQuantized) {
  ForEachLevel([] { CheckExperts(false); });
}

TEST(ExpertsMayHaveOrdersOfTheirOwn) {
  ForEachLevel([] { CheckExperts(true); });
}

}  // namespace
}  // namespace skein::test
