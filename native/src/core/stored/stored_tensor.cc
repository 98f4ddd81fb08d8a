#include "core/stored/stored_tensor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/checked_math.h"
#include "core/stored/row_format.h"

namespace skein {
namespace {

std::string TensorText(TensorDtype dtype, const std::vector<uint64_t>& shape) {
  std::string text = InfoOf(dtype).name + std::string(" [");
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

Status WeightError(const WeightSource& weight, const std::string& what) {
  return {Code::kInvalidArgument, "weight '" + weight.name + "': " + what};
}

Status ContentError(const TensorSource& tensor, const std::string& what) {
  return {Code::kFile, "tensor '" + tensor.name + "' of '" + tensor.file + "': " + what};
}

Status CheckSize(const WeightSource& weight, const TensorSource& tensor) {
  const TensorDtypeInfo& info = InfoOf(tensor.dtype);
  size_t values = 1, bytes;
  for (const uint64_t dim : tensor.shape) {
    if (dim == 0 || dim > UINT32_MAX || !CheckedMul(values, dim, &values))
      return WeightError(weight, "tensor '" + tensor.name + "' has an impossible shape, " +
                                     TensorText(tensor.dtype, tensor.shape));
  }
  if (info.values > 1 && (tensor.shape.empty() || tensor.shape.back() % info.values != 0)) {
    return WeightError(weight, "tensor '" + tensor.name + "' is " + TensorText(tensor.dtype, tensor.shape) +
                                   ", its rows are no blocks of " + std::to_string(info.values));
  }
  if (!CheckedMul(values / info.values, info.bytes, &bytes) || bytes != tensor.size_bytes) {
    return WeightError(weight, "tensor '" + tensor.name + "' is " + TensorText(tensor.dtype, tensor.shape) +
                                   "; its shape needs " + std::to_string(values / info.values) + " x " +
                                   std::to_string(info.bytes) + " bytes, sizeBytes is " +
                                   std::to_string(tensor.size_bytes));
  }
  return Status::Ok();
}

Status NeedTensor(const WeightSource& weight, const TensorSource& tensor,
                  std::initializer_list<TensorDtype> dtypes, const std::vector<uint64_t>& shape) {
  bool fits = tensor.shape == shape;
  std::string needed;
  for (const TensorDtype dtype : dtypes)
    needed += (needed.empty() ? "" : " or ") + std::string(InfoOf(dtype).name);
  bool known = false;
  for (const TensorDtype dtype : dtypes) known |= tensor.dtype == dtype;
  if (!known || !fits) {
    const std::string text = TensorText(TensorDtype::kF32, shape);
    return WeightError(weight, "tensor '" + tensor.name + "' is " + TensorText(tensor.dtype, tensor.shape) +
                                   ", needs " + needed + text.substr(text.find(' ')));
  }
  return CheckSize(weight, tensor);
}

struct StoredTensor::File {
  int fd = -1;
  uint64_t size = 0;
  ~File() {
    if (fd >= 0) close(fd);
  }
};

Status StoredTensor::Read(uint64_t offset, size_t size, void* out) const {
  auto* to = static_cast<uint8_t*>(out);
  uint64_t at = source_.offset_bytes + offset;
  while (size > 0) {
    const ssize_t n = pread(file_->fd, to, size, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ContentError(source_, n == 0 ? "the file ends within it" : std::strerror(errno));
    to += n, at += static_cast<uint64_t>(n), size -= static_cast<size_t>(n);
  }
  return Status::Ok();
}

Status StoredTensor::ReadColumns(size_t first, size_t count, std::vector<uint8_t>* out) const {
  const size_t rows = source_.shape[0], cols = source_.shape[1], bytes = InfoOf(source_.dtype).bytes;
  out->resize(rows * count * bytes);
  if (count == cols) return Read(0, out->size(), out->data());
  for (size_t r = 0; r < rows; ++r) {
    if (Status s = Read((r * cols + first) * bytes, count * bytes, out->data() + r * count * bytes); !s.ok())
      return s;
  }
  return Status::Ok();
}

Status StoredTensor::ReadFloats(uint64_t first, size_t count, float* out,
                                std::vector<uint8_t>* scratch) const {
  const Dtype dtype = *FloatDtype(source_.dtype);
  const size_t bytes = DtypeBytes(dtype);
  scratch->resize(count * bytes);
  if (Status s = Read(first * bytes, count * bytes, scratch->data()); !s.ok()) return s;
  WidenFloats(scratch->data(), dtype, count, out);
  return Status::Ok();
}

Status SourceFiles::Open(const WeightSource& weight, const TensorSource& tensor, StoredTensor* out) {
  auto& file = files_[tensor.file];
  const auto fail = [&](const std::string& what) {
    return Status(Code::kFile, "weight '" + weight.name + "': " + what);
  };
  if (file == nullptr) {
    auto opened = std::make_shared<StoredTensor::File>();
    opened->fd = open(tensor.file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (opened->fd < 0) return fail("cannot open '" + tensor.file + "': " + std::strerror(errno));
    struct stat info{};
    if (fstat(opened->fd, &info) != 0 || !S_ISREG(info.st_mode))
      return fail("'" + tensor.file + "' is not a regular file");
    opened->size = static_cast<uint64_t>(info.st_size);
    file = std::move(opened);
  }
  size_t end;
  if (!CheckedAdd(tensor.offset_bytes, tensor.size_bytes, &end) || end > file->size) {
    return fail("tensor '" + tensor.name + "' needs bytes " + std::to_string(tensor.offset_bytes) + "+" +
                std::to_string(tensor.size_bytes) + " of '" + tensor.file + "', which has " +
                std::to_string(file->size));
  }
  out->source_ = tensor;
  out->file_ = file;
  return Status::Ok();
}

}  // namespace skein
