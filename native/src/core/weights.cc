#include "core/weights.h"

#include <algorithm>
#include <cstring>

#include "core/checked_math.h"
#include "core/float_bits.h"

namespace skein {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kChunkBytes = size_t{16} << 20;
constexpr size_t kTensorAlignment = 64;

/// Copies to `to`, or, where that is null, reads a byte of each page, so that the first step does not wait
/// for the disk.
Status ReadAll(const std::byte* data, size_t size, std::byte* to, const std::function<void(size_t)>& advance,
               const std::atomic<bool>& cancelled) {
  unsigned sum = 0;
  for (size_t at = 0; at < size; at += kChunkBytes) {
    if (cancelled.load(std::memory_order_relaxed)) return {Code::kAborted, "load aborted"};
    const size_t end = std::min(size, at + kChunkBytes);
    if (to != nullptr) {
      std::memcpy(to + at, data + at, end - at);
    } else {
      for (size_t i = at; i < end; i += kPageBytes)
        sum += *reinterpret_cast<const volatile unsigned char*>(data + i);
    }
    advance(end - at);
  }
  (void)sum;
  return Status::Ok();
}

std::vector<float> Widen(const std::byte* data, Dtype dtype, size_t count) {
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) {
    if (dtype == Dtype::kF32) {
      std::memcpy(&out[i], data + 4 * i, 4);
    } else {
      uint16_t bits;
      std::memcpy(&bits, data + 2 * i, 2);
      out[i] = dtype == Dtype::kF16 ? FloatFromF16(bits) : FloatFromBF16(bits);
    }
  }
  return out;
}

}  // namespace

Status CheckWeightSource(const WeightSource& source, size_t* bytes) {
  const auto fail = [&](const std::string& what) {
    return Status(Code::kInvalidArgument, "weight '" + source.name + "': " + what);
  };
  if (source.shape.empty() || source.shape.size() > 2) {
    return fail("has " + std::to_string(source.shape.size()) + " dimensions, 1 or 2 are supported");
  }
  const auto* plain = std::get_if<PlainWeight>(&source.stored);
  const std::optional<Dtype> dtype = plain == nullptr ? std::nullopt : FloatDtype(plain->tensor.dtype);
  if (!dtype || source.quantize != WeightQuantization::kNone) return fail("is quantized");
  const TensorSource& tensor = plain->tensor;
  if (tensor.shape.size() != source.shape.size() ||
      (source.shape.size() == 2 && tensor.shape[1] != source.shape[1])) {
    return fail("its shape does not fit that of its tensor '" + tensor.name + "'");
  }
  if (source.first_row > tensor.shape[0] || source.shape[0] > tensor.shape[0] - source.first_row) {
    return fail("rows " + std::to_string(source.first_row) + "+" + std::to_string(source.shape[0]) +
                " are not within the " + std::to_string(tensor.shape[0]) + " of its tensor");
  }
  size_t stored_bytes = DtypeBytes(*dtype);
  for (const uint64_t dim : tensor.shape) {
    if (dim == 0 || dim > UINT32_MAX || !CheckedMul(stored_bytes, dim, &stored_bytes))
      return fail("has an impossible shape");
  }
  if (stored_bytes != tensor.size_bytes) {
    return fail("its shape needs " + std::to_string(stored_bytes) + " bytes, sizeBytes is " +
                std::to_string(tensor.size_bytes));
  }
  if (source.shape[0] == 0) return fail("has no rows");
  *bytes = stored_bytes / tensor.shape[0] * source.shape[0];
  return Status::Ok();
}

Status WeightStore::Load(const std::vector<WeightSource>& sources, const Progress& progress,
                         const std::atomic<bool>& cancelled) {
  uint64_t total = 0, done = 0;
  size_t placed_bytes = 0;
  for (const WeightSource& source : sources) {
    size_t bytes;
    if (Status s = CheckWeightSource(source, &bytes); !s.ok()) return s;
    total += bytes;
    placed_bytes += RoundUp(bytes, kTensorAlignment);
  }
  progress(0, total);
  const bool copy = MappedMemory::HugePagesGranted() && MappedMemory::Allocate(placed_bytes, &copied_).ok();
  std::byte* to = copy ? copied_.data() : nullptr;
  for (const WeightSource& source : sources) {
    const TensorSource& tensor = std::get<PlainWeight>(source.stored).tensor;
    const Dtype dtype = *FloatDtype(tensor.dtype);
    auto [it, fresh] = files_.try_emplace(tensor.file);
    if (fresh) {
      if (Status s = MappedMemory::MapFile(tensor.file, &it->second); !s.ok()) {
        return {s.code(), "weight '" + source.name + "': " + s.message()};
      }
    }
    const MappedMemory& file = it->second;
    size_t end;
    if (!CheckedAdd(tensor.offset_bytes, tensor.size_bytes, &end) || end > file.size()) {
      return {Code::kFile, "weight '" + source.name + "' needs bytes " + std::to_string(tensor.offset_bytes) +
                               "+" + std::to_string(tensor.size_bytes) + " of '" + tensor.file +
                               "', which has " + std::to_string(file.size())};
    }
    const size_t row_bytes = tensor.size_bytes / tensor.shape[0];
    const size_t bytes = row_bytes * source.shape[0];
    const std::byte* data = file.data() + tensor.offset_bytes + row_bytes * source.first_row;
    const auto advance = [&](size_t count) { progress(done += count, total); };
    if (Status s = ReadAll(data, bytes, to, advance, cancelled); !s.ok()) return s;
    if (to != nullptr) {
      data = to;
      to += RoundUp(bytes, kTensorAlignment);
    } else if (reinterpret_cast<uintptr_t>(data) % DtypeBytes(dtype) != 0) {
      MappedMemory aligned;
      if (Status s = MappedMemory::Allocate(bytes, &aligned); !s.ok()) return s;
      std::memcpy(aligned.data(), data, bytes);
      data = aligned.data();
      realigned_.push_back(std::move(aligned));
    }
    const bool matrix = source.shape.size() == 2;
    const size_t cols = source.shape.back();
    views_.push_back({data, dtype, matrix ? static_cast<size_t>(source.shape[0]) : 1, cols});
    vectors_.push_back(matrix ? std::vector<float>() : Widen(data, dtype, cols));
  }
  if (copy) files_.clear();
  return Status::Ok();
}

}  // namespace skein
