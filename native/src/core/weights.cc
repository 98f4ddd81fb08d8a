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

Status CheckTensorSource(const TensorSource& source) {
  const auto fail = [&](const std::string& what) {
    return Status(Code::kInvalidArgument, "weight '" + source.name + "': " + what);
  };
  if (source.shape.empty() || source.shape.size() > 2) {
    return fail("has " + std::to_string(source.shape.size()) + " dimensions, 1 or 2 are supported");
  }
  size_t bytes = DtypeBytes(source.dtype);
  for (const uint64_t dim : source.shape) {
    if (dim == 0 || dim > UINT32_MAX || !CheckedMul(bytes, dim, &bytes))
      return fail("has an impossible shape");
  }
  if (bytes != source.size_bytes) {
    return fail("its shape needs " + std::to_string(bytes) + " bytes, sizeBytes is " +
                std::to_string(source.size_bytes));
  }
  return Status::Ok();
}

Status WeightStore::Load(const std::vector<TensorSource>& sources, const Progress& progress,
                         const std::atomic<bool>& cancelled) {
  uint64_t total = 0, done = 0;
  size_t placed_bytes = 0;
  for (const TensorSource& source : sources) {
    if (Status s = CheckTensorSource(source); !s.ok()) return s;
    total += source.size_bytes;
    placed_bytes += RoundUp(source.size_bytes, kTensorAlignment);
  }
  progress(0, total);
  const bool copy = MappedMemory::HugePagesGranted() && MappedMemory::Allocate(placed_bytes, &copied_).ok();
  std::byte* to = copy ? copied_.data() : nullptr;
  for (const TensorSource& source : sources) {
    auto [it, fresh] = files_.try_emplace(source.file);
    if (fresh) {
      if (Status s = MappedMemory::MapFile(source.file, &it->second); !s.ok()) {
        return {s.code(), "weight '" + source.name + "': " + s.message()};
      }
    }
    const MappedMemory& file = it->second;
    size_t end;
    if (!CheckedAdd(source.offset_bytes, source.size_bytes, &end) || end > file.size()) {
      return {Code::kFile, "weight '" + source.name + "' needs bytes " + std::to_string(source.offset_bytes) +
                               "+" + std::to_string(source.size_bytes) + " of '" + source.file +
                               "', which has " + std::to_string(file.size())};
    }
    const std::byte* data = file.data() + source.offset_bytes;
    const auto advance = [&](size_t bytes) { progress(done += bytes, total); };
    if (Status s = ReadAll(data, source.size_bytes, to, advance, cancelled); !s.ok()) return s;
    if (to != nullptr) {
      data = to;
      to += RoundUp(source.size_bytes, kTensorAlignment);
    } else if (reinterpret_cast<uintptr_t>(data) % DtypeBytes(source.dtype) != 0) {
      MappedMemory aligned;
      if (Status s = MappedMemory::Allocate(source.size_bytes, &aligned); !s.ok()) return s;
      std::memcpy(aligned.data(), data, source.size_bytes);
      data = aligned.data();
      realigned_.push_back(std::move(aligned));
    }
    const bool matrix = source.shape.size() == 2;
    const size_t cols = source.shape.back();
    views_.push_back({data, source.dtype, matrix ? static_cast<size_t>(source.shape[0]) : 1, cols});
    vectors_.push_back(matrix ? std::vector<float>() : Widen(data, source.dtype, cols));
  }
  if (copy) files_.clear();
  return Status::Ok();
}

}  // namespace skein
