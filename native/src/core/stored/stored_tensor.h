#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/weight_source.h"
#include "skein/status.h"

namespace skein {

/// kInvalidArgument with the weight's name.
Status WeightError(const WeightSource& weight, const std::string& what);
/// kFile with the tensor's name: its content is wrong.
Status ContentError(const TensorSource& tensor, const std::string& what);

/// The tensor has one of the types, this shape, and as many bytes as that takes. kInvalidArgument names
/// weight and tensor, and both shapes.
Status NeedTensor(const WeightSource& weight, const TensorSource& tensor,
                  std::initializer_list<TensorDtype> dtypes, const std::vector<uint64_t>& shape);
/// As much as its type and shape take, and no dimension is 0.
Status CheckSize(const WeightSource& weight, const TensorSource& tensor);

/// A tensor of an open file. It is read with pread, so that a file that is cut short meanwhile is an error
/// and no fault, and no page of it counts as this process's memory. Thread-safe.
class StoredTensor {
 public:
  StoredTensor() = default;
  const TensorSource& source() const { return source_; }

  /// Bytes [offset, offset + size) of the tensor. kFile when the file ends before.
  Status Read(uint64_t offset, size_t size, void* out) const;
  /// Of a row-major matrix of single elements: columns [first, first + count), all rows; out [rows][count].
  Status ReadColumns(size_t first, size_t count, std::vector<uint8_t>* out) const;
  /// As f32; of a float type.
  Status ReadFloats(uint64_t first, size_t count, float* out, std::vector<uint8_t>* scratch) const;

 private:
  friend class SourceFiles;
  struct File;
  TensorSource source_;
  std::shared_ptr<const File> file_;
};

/// Opens each file once.
class SourceFiles {
 public:
  /// kFile when the file cannot be opened or the tensor is not within it.
  Status Open(const WeightSource& weight, const TensorSource& tensor, StoredTensor* out);

 private:
  std::map<std::string, std::shared_ptr<const StoredTensor::File>> files_;
};

}  // namespace skein
