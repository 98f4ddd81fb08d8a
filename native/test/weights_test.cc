#include "core/weights.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "cpu/float_panels.h"
#include "cpu/int_panels.h"
#include "levels.h"
#include "op_backend.h"
#include "stored_fixture.h"
#include "weight_file.h"

/// Weights of every stored format, loaded and packed, stand for what their formats' libraries give.
namespace skein::test {
namespace {

const std::atomic<bool> kNever{false};

/// A program that reads `weights` by one linear each.
ProgramSpec Linears(std::vector<WeightSource> weights) {
  ProgramSpec spec;
  int64_t next = 0;
  for (const WeightSource& weight : weights) {
    spec.ops.push_back({.kind = OpKind::kRecv,
                        .out = next,
                        .width = static_cast<uint32_t>(weight.shape[1]),
                        .peer = "test"});
    spec.ops.push_back(
        {.kind = OpKind::kLinear, .inputs = {next, -1, -1}, .out = next + 1, .weight = next / 2});
    next += 2;
  }
  spec.weights = std::move(weights);
  return spec;
}

std::vector<float> UnpackedRow(const WeightView& view, size_t row) {
  std::vector<float> packed(view.cols), out(view.cols);
  (view.layout == WeightLayout::kIntPanels ? cpu::UnpackIntRow : cpu::UnpackFloatRow)(view, row,
                                                                                      packed.data());
  for (size_t c = 0; c < view.cols; ++c)
    out[view.column_order != nullptr ? view.column_order[c] : c] = packed[c];
  return out;
}

void ExpectRow(const StoredCase& c, const WeightView& view, size_t row, size_t of) {
  const std::vector<float> found = UnpackedRow(view, row);
  if (std::memcmp(found.data(), c.expected.data() + of * view.cols, view.cols * sizeof(float)) != 0)
    Fail(__FILE__, __LINE__, c.name + ": row " + std::to_string(of) + " is not the library's");
}

TEST(PackedWeightsAreTheirLibrarysBits) {
  const StoredFixture fixture;
  ThreadPool pool(3);
  ForEachLevel([&] {
    std::vector<WeightSource> weights;
    for (const StoredCase& c : fixture.cases) {
      weights.push_back(c.weight);
      WeightSource& slice = weights.emplace_back(c.weight);
      slice.first_row = 3;
      slice.shape[0] -= 3;
    }
    const ProgramSpec spec = Linears(weights);
    WeightStore store;
    uint64_t last = 0;
    const auto progress = [&](uint64_t done, uint64_t total) {
      CHECK(done >= last && done <= total);
      last = done;
    };
    CHECK_OK(store.Load(spec, &pool, progress, kNever));
    for (size_t i = 0; i < fixture.cases.size(); ++i) {
      const StoredCase& c = fixture.cases[i];
      const auto id = static_cast<int64_t>(2 * i);
      for (size_t r = 0; r < c.weight.shape[0]; ++r) ExpectRow(c, store.panels(id), r, r);
      for (size_t r = 3; r < c.weight.shape[0]; ++r) ExpectRow(c, store.panels(id + 1), r - 3, r);
    }
  });
}

TEST(ScalesBeyondF16AreKeptInF32) {
  std::vector<float> tiny(40 * 64, 1e-8f), usual(40 * 64, 0.5f);
  const WeightFile tiny_file(tiny.data(), tiny.size() * 4), usual_file(usual.data(), usual.size() * 4);
  std::vector<WeightSource> weights;
  for (const WeightFile* file : {&tiny_file, &usual_file}) {
    weights.push_back(PlainSource({"w", file->path(), 0, 40 * 64 * 4, TensorDtype::kF32, {40, 64}}));
    weights.back().quantize = WeightQuantization::kInt4;
  }
  ThreadPool pool(2);
  WeightStore store;
  CHECK_OK(store.Load(Linears(weights), &pool, [](uint64_t, uint64_t) {}, kNever));
  CHECK(store.panels(0).scale_dtype == Dtype::kF32);
  CHECK(store.panels(1).scale_dtype == Dtype::kF16);
  CHECK(std::fabs(UnpackedRow(store.panels(0), 39)[63] - 1e-8f) < 1e-10f);
  CHECK(std::fabs(UnpackedRow(store.panels(1), 39)[63] - 0.5f) < 1e-3f);
}

// kv_b_proj: its key rows are read as they are, its value rows as panels of each head.
TEST(LatentWeightsAreDequantized) {
  const StoredFixture fixture;
  for (const StoredCase& c : fixture.cases) {
    const auto rows = static_cast<uint32_t>(c.weight.shape[0] / 3),
               cols = static_cast<uint32_t>(c.weight.shape[1]);
    if (rows < 2) continue;
    const LatentShape latent{.nope_dim = rows - 1, .rope_dim = 2, .value_dim = 1, .latent_dim = cols};
    ProgramSpec spec;
    spec.weights = {c.weight};
    spec.weights[0].shape[0] = uint64_t{3} * rows;
    Op absorb{.kind = OpKind::kAbsorbKey, .weight = 0, .num_heads = 3}, expand{.kind = OpKind::kExpandValue};
    expand.weight = 0, expand.num_heads = 3, absorb.latent = expand.latent = latent;
    spec.ops = {absorb, expand};
    ThreadPool pool(2);
    WeightStore store;
    CHECK_OK(store.Load(spec, &pool, [](uint64_t, uint64_t) {}, kNever));
    const WeightView& view = store.rows(0);
    CHECK(view.layout == WeightLayout::kRows && view.dtype == Dtype::kF32);
    CHECK_EQ(std::memcmp(view.data, c.expected.data(), size_t{3} * rows * cols * sizeof(float)), 0);
    for (size_t head = 0; head < 3; ++head) {
      WeightView values = store.values(0);
      const size_t bytes = cpu::FloatPanelBytes(values.dtype, 1, cols);
      values.data = static_cast<const std::byte*>(values.data) + head * bytes;
      values.rows = 1;
      ExpectRow(c, values, 0, head * rows + rows - 1);
    }
  }
}

/// A folder of its own, which goes with this object.
class TemporaryFolder {
 public:
  TemporaryFolder() { CHECK(mkdtemp(path_.data()) != nullptr); }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_; }

 private:
  std::string path_ = "/tmp/skein-cache-XXXXXX";
};

class CachedLoads {
 public:
  explicit CachedLoads(ProgramSpec spec) : spec_(std::move(spec)) {
    spec_.weight_cache_dir = folder_.path() + "/made/when/needed";
  }

  /// Loads, and holds what was loaded against the first load's.
  WeightCacheUse Load(const std::string& level = "level") {
    WeightStore store;
    WeightCacheUse use;
    CHECK_OK(store.LoadCached(spec_, level, &pool_, [](uint64_t, uint64_t) {}, kNever, &use));
    std::vector<float> found;
    for (size_t i = 0; i < spec_.weights.size(); ++i) {
      for (size_t r = 0; r < spec_.weights[i].shape[0]; ++r) {
        const std::vector<float> row = UnpackedRow(store.panels(static_cast<int64_t>(i)), r);
        found.insert(found.end(), row.begin(), row.end());
      }
    }
    if (first_.empty()) first_ = found;
    CHECK_EQ(found.size(), first_.size());
    CHECK_EQ(std::memcmp(found.data(), first_.data(), found.size() * sizeof(float)), 0);
    return use;
  }
  size_t NumFiles() const {
    const std::filesystem::directory_iterator files(spec_.weight_cache_dir);
    return static_cast<size_t>(std::distance(begin(files), end(files)));
  }
  ProgramSpec& spec() { return spec_; }

 private:
  TemporaryFolder folder_;
  ProgramSpec spec_;
  ThreadPool pool_{2};
  std::vector<float> first_;
};

ProgramSpec EveryFormat() {
  static const StoredFixture fixture;
  static const std::vector<float> tiny(16 * 32, 1e-8f);
  static const WeightFile file(tiny.data(), tiny.size() * 4);
  std::vector<WeightSource> weights;
  for (const StoredCase& c : fixture.cases) weights.push_back(c.weight);
  weights.push_back(PlainSource({"tiny", file.path(), 0, 16 * 32 * 4, TensorDtype::kF32, {16, 32}}));
  weights.back().quantize = WeightQuantization::kInt8;
  return Linears(std::move(weights));
}

TEST(PackedWeightsAreWrittenOnceAndRead) {
  CachedLoads loads(EveryFormat());
  const WeightCacheUse first = loads.Load();
  CHECK(first.written && !first.read);
  CHECK_EQ(first.problem, std::string());
  for (int i = 0; i < 2; ++i) {
    const WeightCacheUse again = loads.Load();
    CHECK(again.read && !again.written);
    CHECK_EQ(again.path, first.path);
  }
  CHECK_EQ(loads.NumFiles(), size_t{1});
  // Another instruction level, or other rows of a tensor, are other weights.
  CHECK(loads.Load("other").written);
  CachedLoads others(EveryFormat());
  others.spec().weight_cache_dir = loads.spec().weight_cache_dir;
  others.spec().weights[0].first_row = 1, others.spec().weights[0].shape[0] -= 1;
  CHECK(others.Load().written);
  CHECK_EQ(loads.NumFiles(), size_t{3});
}

TEST(DamagedCachesAreNamedAndRewritten) {
  CachedLoads loads(EveryFormat());
  const std::string path = loads.Load().path;
  const auto size = static_cast<off_t>(std::filesystem::file_size(path));
  const std::pair<std::function<void()>, std::string> damages[] = {
      {[&] { CHECK_EQ(truncate(path.c_str(), size - 1), 0); }, "bytes, was written with"},
      {[&] { CHECK_EQ(truncate(path.c_str(), 10), 0); }, "is cut short"},
      {[&] { std::ofstream(path) << std::string(9000, 'x'); }, "is another file"},
      {[&] {
         std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
         file.seekp(sizeof(uint64_t) * 4);
         file.put('x');
       },
       "its header is damaged"},
      {[&] {
         std::filesystem::remove(path);
         std::filesystem::create_directory(path);
       },
       "cannot rename"},
  };
  for (const auto& [damage, words] : damages) {
    damage();
    const WeightCacheUse use = loads.Load();
    CHECK(!use.read && use.problem.find(path) != std::string::npos);
    if (use.problem.find(words) == std::string::npos) CHECK_EQ(use.problem, words);
    if (std::filesystem::is_directory(path)) break;
    CHECK(use.written && loads.Load().read);
  }
}

TEST(RanksThatWriteAtOnceLeaveOneWholeFile) {
  CachedLoads loads(EveryFormat());
  std::vector<std::thread> ranks;
  for (int i = 0; i < 4; ++i) {
    ranks.emplace_back([&] {
      ThreadPool pool(1);
      for (int n = 0; n < 3; ++n) {
        WeightStore store;
        WeightCacheUse use;
        CHECK_OK(store.LoadCached(loads.spec(), "level", &pool, [](uint64_t, uint64_t) {}, kNever, &use));
        CHECK_EQ(use.problem, std::string());
      }
    });
  }
  for (std::thread& rank : ranks) rank.join();
  CHECK_EQ(loads.NumFiles(), size_t{1});
  CHECK(loads.Load().read);
}

TEST(ALoadThatFailsOrIsCancelledSaysSo) {
  const StoredFixture fixture;
  std::vector<WeightSource> weights{fixture.cases[0].weight, fixture.cases[0].weight};
  std::get<GptqWeight>(weights[1].stored).scales.file = "/nowhere/weights";
  ThreadPool pool(2);
  WeightStore store;
  const auto ignore = [](uint64_t, uint64_t) {};
  CHECK_EQ(static_cast<int>(store.Load(Linears(weights), &pool, ignore, kNever).code()),
           static_cast<int>(Code::kFile));
  weights.pop_back();
  const std::atomic<bool> cancelled{true};
  CHECK_EQ(static_cast<int>(store.Load(Linears(weights), &pool, ignore, cancelled).code()),
           static_cast<int>(Code::kAborted));
}

}  // namespace
}  // namespace skein::test
