#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "core/float_bits.h"
#include "core/stored/quantize_weight.h"
#include "core/stored/stored_matrix.h"
#include "stored_fixture.h"
#include "weight_file.h"

/// Stored weights against what their formats' libraries give, bit for bit, and against hostile files.
namespace skein::test {
namespace {

Status Dequantize(const WeightSource& weight, size_t first, size_t count, std::vector<float>* out) {
  RowFormat format;
  SourceFiles files;
  std::unique_ptr<StoredMatrix> matrix;
  if (Status s = DescribeMatrix(weight, false, &format); !s.ok()) return s;
  if (Status s = OpenMatrix(weight, format, &files, &matrix); !s.ok()) return s;
  RowBlock block;
  if (Status s = matrix->Read(first, count, &block); !s.ok()) return s;
  out->assign(count * format.cols, NAN);
  for (size_t r = 0; r < count; ++r)
    DequantizeRow(format, block, r, matrix->column_order(), out->data() + r * format.cols);
  return Status::Ok();
}

void ExpectRows(const StoredCase& c, const WeightSource& weight, size_t first, size_t count, size_t of) {
  std::vector<float> rows;
  CHECK_OK(Dequantize(weight, first, count, &rows));
  const size_t cols = weight.shape[1];
  for (size_t i = 0; i < rows.size(); ++i) {
    const float expected = c.expected[of * cols + i];
    if (std::memcmp(&rows[i], &expected, sizeof(float)) != 0)
      Fail(__FILE__, __LINE__,
           c.name + " row " + std::to_string(of + i / cols) + " column " + std::to_string(i % cols) + ": " +
               std::to_string(rows[i]) + ", the library has " + std::to_string(expected));
  }
}

TEST(EveryFormatGivesItsLibrarysBits) {
  const StoredFixture fixture;
  CHECK_EQ(fixture.cases.size(), size_t{27});
  for (const StoredCase& c : fixture.cases) {
    const size_t rows = c.weight.shape[0];
    ExpectRows(c, c.weight, 0, rows, 0);
    // Blocks of any size, and weights that are some rows of what is stored.
    for (const size_t first : {size_t{1}, rows / 2, rows - 1}) {
      ExpectRows(c, c.weight, first, rows - first, first);
      WeightSource slice = c.weight;
      slice.first_row = first;
      slice.shape[0] = (rows - first + 1) / 2;
      ExpectRows(c, slice, 0, slice.shape[0], first);
    }
  }
}

TEST(ColumnsThatARankTakesAreThoseOfTheWhole) {
  const StoredFixture fixture;
  int taken = 0, refused = 0;
  for (const StoredCase& c : fixture.cases) {
    const size_t rows = c.weight.shape[0], cols = c.weight.shape[1];
    for (const size_t parts : {2, 4}) {
      for (size_t part = 0; part < parts; ++part) {
        WeightSource slice = c.weight;
        slice.shape[1] = cols / parts;
        slice.first_col = part * slice.shape[1];
        std::vector<float> values;
        if (const Status status = Dequantize(slice, 1, rows - 1, &values); !status.ok()) {
          CHECK_EQ(static_cast<int>(status.code()), static_cast<int>(Code::kInvalidArgument));
          ++refused;
          continue;
        }
        ++taken;
        for (size_t i = 0; i < values.size(); ++i) {
          const size_t at = (1 + i / slice.shape[1]) * cols + slice.first_col + i % slice.shape[1];
          CHECK(std::memcmp(&values[i], &c.expected[at], sizeof(float)) == 0);
        }
      }
    }
  }
  CHECK(taken >= 20 && refused >= 20);
}

/// `change` makes a case wrong; it is refused, when it is described or when it is read, by these words.
void ExpectRefused(const std::string& name, const std::function<void(WeightSource&)>& change,
                   const std::string& words, Code code = Code::kInvalidArgument) {
  static const StoredFixture fixture;
  for (const StoredCase& c : fixture.cases) {
    if (c.name != name) continue;
    WeightSource weight = c.weight;
    change(weight);
    std::vector<float> rows;
    const Status status = Dequantize(weight, 0, weight.shape[0], &rows);
    CHECK_EQ(static_cast<int>(status.code()), static_cast<int>(code));
    if (status.message().find(words) == std::string::npos) CHECK_EQ(status.message(), words);
    return;
  }
  Fail(__FILE__, __LINE__, "no case " + name);
}

TEST(ShapesThatDoNotFitAreRefused) {
  const auto gptq = [](WeightSource& w) -> GptqWeight& { return std::get<GptqWeight>(w.stored); };
  const auto packed = [](WeightSource& w) -> PackedWeight& { return std::get<PackedWeight>(w.stored); };
  ExpectRefused(
      "gptq-4-g32", [&](WeightSource& w) { gptq(w).group_size = 40; }, "groups of 40 do not fit 96");
  ExpectRefused("gptq-4-g32", [&](WeightSource& w) { gptq(w).group_size = 8; }, "groups of 8 do not fit 96");
  ExpectRefused(
      "gptq-4-g32", [&](WeightSource& w) { gptq(w).group_size = 48; },
      "tensor 'qzeros' is i32 [3, 3], needs i32 [2, 3]");
  ExpectRefused(
      "gptq-4-g32", [&](WeightSource& w) { gptq(w).bits = 8; },
      "tensor 'qweight' is i32 [12, 24], needs i32 [24, 24]");
  ExpectRefused(
      "gptq-4-g32", [&](WeightSource& w) { gptq(w).scales.dtype = TensorDtype::kI32; },
      "needs f32 or f16 or bf16 [3, 24]");
  ExpectRefused("gptq-4-g32", [&](WeightSource& w) { gptq(w).qweight.size_bytes -= 4; }, "sizeBytes is 1148");
  ExpectRefused("gptq-4-g32", [&](WeightSource& w) { w.shape[1] = 92; }, "columns 0+92 of 96 are no half");
  const auto half = [](WeightSource& w, uint64_t first) { w.shape[1] /= 2, w.first_col = first; };
  ExpectRefused(
      "gptq-8-g64", [&](WeightSource& w) { w.shape[1] = 32; }, "0+32 of 128 are not whole groups of 64");
  ExpectRefused("int8-channel", [&](WeightSource& w) { half(w, 1); }, "columns 1+");
  ExpectRefused(
      "gptq-4-act-order", [&](WeightSource& w) { half(w, 64); },
      "columns 64+64 of 128 are taken, and they are reordered");
  ExpectRefused("gptq-4-g32", [&](WeightSource& w) { w.first_row = 1; }, "rows 1+24 are not within the 24");
  ExpectRefused("gptq-4-g32", [&](WeightSource& w) { w.first_row = UINT64_MAX; }, "are not within the 24");
  ExpectRefused("gptq-4-g32", [&](WeightSource& w) { w.shape = {0, 96}; }, "impossible shape");
  ExpectRefused(
      "gptq-4-act-order", [&](WeightSource& w) { gptq(w).g_idx->shape = {127}; }, "needs i32 [128]");
  ExpectRefused(
      "awq-g32", [](WeightSource& w) { std::get<AwqWeight>(w.stored).qweight.shape = {48, 5}; }, "needs");
  ExpectRefused(
      "packed-4-g32-asymmetric", [&](WeightSource& w) { packed(w).zero_point->shape = {3, 4}; },
      "needs i32 [3, 3]");
  ExpectRefused(
      "int8-channel", [](WeightSource& w) { std::get<Int8Weight>(w.stored).scale.shape = {2, 1}; },
      "needs f32 or f16 or bf16 [21, 1]");
  ExpectRefused(
      "fp8-blocks", [](WeightSource& w) { std::get<Fp8Weight>(w.stored).block_rows = 16; },
      "needs f32 or f16 or bf16 [5, 4]");
  ExpectRefused(
      "q4_k", [](WeightSource& w) { std::get<PlainWeight>(w.stored).tensor.shape = {14, 128}; },
      "its rows are no blocks of 256");
  ExpectRefused(
      "q8_0", [](WeightSource& w) { w.quantize = WeightQuantization::kInt8; }, "is quantized already");
  ExpectRefused(
      "fp8-tensor", [](WeightSource& w) { w.stored = PlainWeight{std::get<Fp8Weight>(w.stored).weight}; },
      "holds f8e4m3 and has no scales");
}

TEST(FilesThatAreWrongAreNamed) {
  const auto plain = [](WeightSource& w) -> TensorSource& { return std::get<PlainWeight>(w.stored).tensor; };
  ExpectRefused(
      "q8_0", [&](WeightSource& w) { plain(w).file = "/nowhere/weights"; }, "cannot open '/nowhere/weights'",
      Code::kFile);
  ExpectRefused(
      "q8_0", [&](WeightSource& w) { plain(w).file = "/tmp"; }, "is not a regular file", Code::kFile);
  ExpectRefused(
      "q8_0", [&](WeightSource& w) { plain(w).offset_bytes = UINT64_MAX - 3; }, "which has", Code::kFile);
  ExpectRefused(
      "q8_0", [&](WeightSource& w) { plain(w).offset_bytes += 1u << 20; }, "which has", Code::kFile);
}

TEST(ContentThatIsWrongIsNamed) {
  // Each file has one tensor; the others of the case are its fixture's.
  const auto group_ids = [](const std::vector<int32_t>& ids, const std::string& words) {
    const WeightFile file(ids.data(), ids.size() * 4);
    ExpectRefused(
        "gptq-4-act-order",
        [&](WeightSource& w) {
          auto& g_idx = *std::get<GptqWeight>(w.stored).g_idx;
          g_idx.file = file.path(), g_idx.offset_bytes = 0;
        },
        words, Code::kFile);
  };
  std::vector<int32_t> ids(128);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i / 32);
  ids[5] = 4;
  group_ids(ids, "column 5 has group 4 of 4");
  ids[5] = -2;
  group_ids(ids, "column 5 has group -2 of 4");
  ids[5] = 1;
  group_ids(ids, "group 0 has 31 columns, all have 32");

  std::vector<uint8_t> words(2 * 20 * 4, 0xff);
  const WeightFile zeros(words.data(), 2 * 5 * 4);
  ExpectRefused(
      "gptq-8-g64",
      [&](WeightSource& w) {
        auto& qzeros = std::get<GptqWeight>(w.stored).qzeros;
        qzeros.file = zeros.path(), qzeros.offset_bytes = 0;
      },
      "group 0 of row 0 has zero point 256, beyond 255", Code::kFile);
  std::vector<float> scales(21, 1);
  scales[20] = INFINITY;
  const WeightFile infinite(scales.data(), scales.size() * 4);
  ExpectRefused(
      "int8-vector",
      [&](WeightSource& w) {
        auto& scale = std::get<Int8Weight>(w.stored).scale;
        scale.file = infinite.path(), scale.offset_bytes = 0;
      },
      "has a scale of inf", Code::kFile);
  std::vector<uint8_t> codes(21 * 70, 0x38);
  codes[70 + 3] = 0xff;
  const WeightFile nan(codes.data(), codes.size());
  ExpectRefused(
      "fp8-tensor",
      [&](WeightSource& w) {
        auto& weight = std::get<Fp8Weight>(w.stored).weight;
        weight.file = nan.path(), weight.offset_bytes = 0;
      },
      "row 1, column 3 is NaN", Code::kFile);
}

/// A float matrix in a file, to be quantized.
WeightSource FloatMatrix(const WeightFile& file, uint64_t rows, uint64_t cols, WeightQuantization quantize) {
  WeightSource weight = PlainSource({"w", file.path(), 0, rows * cols * 4, TensorDtype::kF32, {rows, cols}});
  weight.quantize = quantize;
  return weight;
}

TEST(QuantizedAtLoadStaysNearTheFloats) {
  constexpr size_t kRows = 9, kCols = 200;
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> floats(kRows * kCols);
  for (float& v : floats) v = normal(random);
  std::fill_n(floats.begin() + kCols, kCols, 0.0f);
  const WeightFile file(floats.data(), floats.size() * 4);
  // Root mean square error over that of the weights: what the bits and the groups allow for normal numbers.
  const std::pair<WeightQuantization, double> bounds[] = {{WeightQuantization::kInt8, 0.0075},
                                                          {WeightQuantization::kInt4, 0.085},
                                                          {WeightQuantization::kInt4G128, 0.102},
                                                          {WeightQuantization::kFp8, 0.03}};
  for (const auto& [quantize, bound] : bounds) {
    std::vector<float> rows;
    CHECK_OK(Dequantize(FloatMatrix(file, kRows, kCols, quantize), 0, kRows, &rows));
    double error = 0, power = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      error += (rows[i] - floats[i]) * (rows[i] - floats[i]);
      power += floats[i] * floats[i];
    }
    if (!(std::sqrt(error / power) < bound))
      CHECK_EQ(std::to_string(std::sqrt(error / power)), std::to_string(bound));
    for (size_t c = 0; c < kCols; ++c) CHECK_EQ(rows[kCols + c], 0.0f);
  }
}

TEST(ScalesBeyondF16AreNoticed) {
  for (const float size : {1e9f, 1e-8f, 0.02f}) {
    std::vector<float> floats(128 * 2, size);
    floats[3] = -size / 3;
    const WeightFile file(floats.data(), floats.size() * 4);
    const WeightSource weight = FloatMatrix(file, 2, 128, WeightQuantization::kInt8);
    for (const bool wide : {false, true}) {
      RowFormat format;
      SourceFiles files;
      std::unique_ptr<StoredMatrix> matrix;
      RowBlock block;
      CHECK_OK(DescribeMatrix(weight, wide, &format));
      CHECK_OK(OpenMatrix(weight, format, &files, &matrix));
      CHECK_OK(matrix->Read(0, 2, &block));
      CHECK_EQ(matrix->needs_wide_scales(), !wide && size != 0.02f);
      if (matrix->needs_wide_scales()) continue;
      std::vector<float> row(128);
      DequantizeRow(format, block, 0, {}, row.data());
      CHECK(std::fabs(row[3] + size / 3) < size / 200);
    }
  }
  std::vector<float> floats(64, 1);
  floats[40] = NAN;
  const WeightFile file(floats.data(), floats.size() * 4);
  std::vector<float> rows;
  const Status status = Dequantize(FloatMatrix(file, 2, 32, WeightQuantization::kInt4), 0, 2, &rows);
  CHECK_EQ(static_cast<int>(status.code()), static_cast<int>(Code::kFile));
  CHECK(status.message().find("row 1, column 8 is nan") != std::string::npos);
}

}  // namespace
}  // namespace skein::test
