#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/weight_source.h"

namespace skein::test {

/// A case of test/fixtures/stored-weights.txt: a weight, and what its format's library makes of it.
struct StoredCase {
  std::string name;
  WeightSource weight;
  /// f32 [shape[0], shape[1]].
  std::vector<float> expected;
};

class StoredFixture {
 public:
  StoredFixture();

  std::vector<StoredCase> cases;

 private:
  void ReadLine(const std::string& line);
  StoredWeight Stored();

  std::string file_, format_;
  std::vector<char> bytes_;
  std::map<std::string, uint32_t> options_;
  std::map<std::string, TensorSource> tensors_;
};

}  // namespace skein::test
