#pragma once

#include <functional>
#include <random>
#include <vector>

#include "core/weight.h"
#include "cpu/int_panels.h"
#include "cpu/quantize_rows.h"
#include "levels.h"

/// A random quantized matrix, plain and packed.
namespace skein::test {

/// As ForEachLevel; where a level has two forms of dots and the processor both, of each.
void ForEachIntLevel(const std::function<void()>& body);

struct IntCase {
  cpu::IntFormat format;
  size_t rows, cols;
  bool ordered = false;
  bool row_scaled = false;
};

/// Packed for the instruction level that is current when it is made.
class IntWeight {
 public:
  IntWeight(const IntCase& c, std::mt19937& random);

  /// What the code of an element stands for.
  double Element(size_t row, size_t col) const;

  WeightView view() const;

  // Exactly sized, so that the sanitizer sees a read past the end. Packed in two calls, as a loader does.
  void Pack();

  IntCase spec;
  size_t groups;
  uint32_t partials = static_cast<uint32_t>(PartialSums(spec.cols));
  std::vector<uint8_t> codes;  // [rows][cols]
  std::vector<float> scales;   // [rows][groups]
  std::vector<int8_t> zeros;
  std::vector<float> mins;
  std::vector<uint32_t> order;

 private:
  std::vector<std::byte> packed_codes, packed_scales;
  std::vector<int8_t> packed_zeros;
  std::vector<float> packed_mins;
};

/// Quantized rows that own their memory.
class OwnedRows {
 public:
  OwnedRows(const float* x, size_t stride, size_t rows, const WeightView& weight);
  const cpu::QuantizedRows& get() const { return rows_; }

 private:
  std::vector<std::byte> room_;
  cpu::QuantizedRows rows_;
};

}  // namespace skein::test
