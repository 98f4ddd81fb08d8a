#include "core/weight_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <system_error>

#include "core/checked_math.h"
#include "core/content_hash.h"
#include "core/stored/stored_tensor.h"
#include "core/weight_plan.h"

namespace skein {
namespace {

/// Of everything that the file's bytes depend on and its key does not say: packers and planner.
constexpr uint64_t kLayoutVersion = 1;
constexpr uint64_t kMagic = 0x3143574e49454b53;
constexpr size_t kPage = 4096;
constexpr size_t kChunk = size_t{8} << 20;
constexpr size_t kSampleBytes = 4096;
constexpr size_t kSamples = 16;

/// The file begins with it, then has one byte for each weight (whether its scales are f32), zeros up to a
/// page, and the packed weights.
struct Header {
  uint64_t magic = kMagic;
  uint64_t key[2] = {0, 0};
  uint64_t weights = 0;
  uint64_t bytes = 0;
  /// Of the fields above and of the bytes that follow the header.
  uint64_t checksum[2] = {0, 0};
};

size_t HeaderBytes(size_t weights) { return RoundUp(sizeof(Header) + weights, kPage); }

void Sign(const Header& header, const uint8_t* wide, uint64_t* checksum) {
  ContentHash hash;
  hash.Add(&header, offsetof(Header, checksum));
  hash.Add(wide, header.weights);
  checksum[0] = hash.Low(), checksum[1] = hash.High();
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

Status Failed(const std::string& what, const std::string& path) {
  return {Code::kFile, "weight cache '" + path + "': " + what + ": " + std::strerror(errno)};
}

Status Foreign(const std::string& what, const std::string& path) {
  return {Code::kFile, "weight cache '" + path + "': " + what};
}

Status ReadFully(int fd, uint64_t at, size_t size, void* out, const std::string& path) {
  auto* to = static_cast<uint8_t*>(out);
  while (size > 0) {
    const ssize_t n = pread(fd, to, size, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed("cannot read", path);
    if (n == 0) return Foreign("is cut short", path);
    to += n, at += static_cast<uint64_t>(n), size -= static_cast<size_t>(n);
  }
  return Status::Ok();
}

Status WriteFully(int fd, const void* data, size_t size, const std::string& path) {
  const auto* from = static_cast<const uint8_t*>(data);
  while (size > 0) {
    const ssize_t n = write(fd, from, std::min(size, kChunk));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed("cannot write", path);
    from += n, size -= static_cast<size_t>(n);
  }
  return Status::Ok();
}

/// Type, shape and samples of its bytes; where it lies does not count.
Status AddTensor(const WeightSource& weight, const TensorSource& tensor, SourceFiles* files,
                 ContentHash* hash) {
  hash->Add(InfoOf(tensor.dtype).name);
  hash->Add(tensor.shape.data(), tensor.shape.size() * sizeof(uint64_t));
  StoredTensor stored;
  if (Status s = files->Open(weight, tensor, &stored); !s.ok()) return s;
  uint8_t sample[kSampleBytes];
  const size_t take = std::min<size_t>(kSampleBytes, tensor.size_bytes);
  const size_t step = (tensor.size_bytes - take) / (kSamples - 1);
  for (size_t i = 0; i < (step == 0 ? 1 : kSamples); ++i) {
    if (Status s = stored.Read(i * step, take, sample); !s.ok()) return s;
    hash->Add(sample, take);
  }
  // The last bytes, whatever the steps left over.
  if (Status s = stored.Read(tensor.size_bytes - take, take, sample); !s.ok()) return s;
  hash->Add(sample, take);
  return Status::Ok();
}

/// The tensors of a stored weight, and the numbers that say what they mean.
struct Parts {
  std::vector<const TensorSource*> tensors;
  std::vector<uint64_t> numbers;

  void Take(const TensorSource& tensor) { tensors.push_back(&tensor); }
  void Take(const std::optional<TensorSource>& tensor) {
    numbers.push_back(tensor.has_value());
    if (tensor) tensors.push_back(&*tensor);
  }
  template <std::integral Number>
  void Take(Number number) {
    numbers.push_back(static_cast<uint64_t>(number));
  }
  template <typename... Field>
  void All(const Field&... field) {
    (Take(field), ...);
  }
};

void PartsOf(const PlainWeight& w, Parts* p) { p->All(w.tensor); }
void PartsOf(const GptqWeight& w, Parts* p) {
  p->All(w.bits, w.group_size, w.zero_offset, w.qweight, w.qzeros, w.scales, w.g_idx);
}
void PartsOf(const AwqWeight& w, Parts* p) { p->All(w.group_size, w.qweight, w.qzeros, w.scales); }
void PartsOf(const PackedWeight& w, Parts* p) {
  p->All(w.bits, w.group_size, w.packed, w.scale, w.zero_point, w.g_idx);
}
void PartsOf(const Int8Weight& w, Parts* p) {
  p->All(w.group_size, w.row_scaled_activations, w.weight, w.scale, w.zero_point);
}
void PartsOf(const Fp8Weight& w, Parts* p) { p->All(w.block_rows, w.block_cols, w.weight, w.scale); }

void AddForm(const PlannedForm& form, ContentHash* hash) {
  for (const size_t offset : {form.data, form.scales, form.zeros, form.mins, form.column_order})
    hash->Add(offset);
  hash->Add(static_cast<uint64_t>(form.view.layout));
}

}  // namespace

Status WeightCache::Open(const ProgramSpec& spec, const std::string& instruction_level,
                         const std::string& dir, WeightCache* out) {
  WeightPlan plan;
  if (Status s = PlanWeights(spec, {}, &plan); !s.ok()) return s;
  ContentHash hash;
  SourceFiles files;
  hash.Add(kLayoutVersion);
  hash.Add(instruction_level);
  for (size_t i = 0; i < spec.weights.size(); ++i) {
    const WeightSource& weight = spec.weights[i];
    Parts parts;
    std::visit([&](const auto& stored) { PartsOf(stored, &parts); }, weight.stored);
    hash.Add(weight.stored.index());
    hash.Add(static_cast<uint64_t>(weight.quantize));
    hash.Add(weight.first_row);
    hash.Add(weight.first_col);
    hash.Add(weight.shape.data(), weight.shape.size() * sizeof(uint64_t));
    hash.Add(parts.numbers.data(), parts.numbers.size() * sizeof(uint64_t));
    for (const TensorSource* tensor : parts.tensors)
      if (Status s = AddTensor(weight, *tensor, &files, &hash); !s.ok()) return s;
    const PlannedWeight& planned = plan.weights[i];
    for (const PlannedForm* form : {&planned.panels, &planned.rows, &planned.values}) AddForm(*form, &hash);
    for (const uint64_t n : {planned.latent.nope_dim, planned.latent.value_dim}) hash.Add(n);
    hash.Add(planned.vector);
  }
  out->key_[0] = hash.Low(), out->key_[1] = hash.High();
  char name[64];
  std::snprintf(name, sizeof(name), "/%016llx%016llx.weights", static_cast<unsigned long long>(out->key_[1]),
                static_cast<unsigned long long>(out->key_[0]));
  out->path_ = dir + name;
  std::error_code ignored;
  std::filesystem::create_directories(dir, ignored);
  return Status::Ok();
}

Status WeightCache::ReadHeader(std::vector<bool>* wide_scales, size_t* bytes) const {
  const Descriptor file{open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0 && errno == ENOENT) return {Code::kUnavailable, "there is no '" + path_ + "'"};
  if (file.fd < 0) return Failed("cannot open", path_);
  struct stat info{};
  if (fstat(file.fd, &info) != 0 || !S_ISREG(info.st_mode)) return Foreign("is not a regular file", path_);
  Header header;
  if (Status s = ReadFully(file.fd, 0, sizeof(header), &header, path_); !s.ok()) return s;
  if (header.magic != kMagic || header.key[0] != key_[0] || header.key[1] != key_[1] ||
      header.weights != wide_scales->size())
    return Foreign("is another file", path_);
  std::vector<uint8_t> wide(header.weights);
  if (Status s = ReadFully(file.fd, sizeof(header), wide.size(), wide.data(), path_); !s.ok()) return s;
  uint64_t checksum[2];
  Sign(header, wide.data(), checksum);
  if (checksum[0] != header.checksum[0] || checksum[1] != header.checksum[1])
    return Foreign("its header is damaged", path_);
  const uint64_t size = HeaderBytes(header.weights) + header.bytes;
  if (static_cast<uint64_t>(info.st_size) != size) {
    return Foreign("has " + std::to_string(info.st_size) + " bytes, was written with " + std::to_string(size),
                   path_);
  }
  for (size_t i = 0; i < wide.size(); ++i) (*wide_scales)[i] = wide[i] != 0;
  *bytes = header.bytes;
  return Status::Ok();
}

Status WeightCache::Read(std::byte* memory, size_t bytes, ThreadPool* pool,
                         const std::function<void(uint64_t)>& advance,
                         const std::atomic<bool>& cancelled) const {
  const Descriptor file{open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) return Failed("cannot open", path_);
  // It may have been replaced since its header was read, by its equal; the header says where the weights
  // begin.
  Header header;
  if (Status s = ReadFully(file.fd, 0, sizeof(header), &header, path_); !s.ok()) return s;
  if (header.bytes != bytes || header.key[0] != key_[0]) return Foreign("is another file", path_);
  const uint64_t begin = HeaderBytes(header.weights);
  std::mutex mutex;
  Status failure;
  std::atomic<uint64_t> done{0};
  pool->Run(CeilDiv(bytes, kChunk), cancelled, [&](size_t chunk, size_t thread) {
    const size_t at = chunk * kChunk, size = std::min(kChunk, bytes - at);
    if (Status s = ReadFully(file.fd, begin + at, size, memory + at, path_); !s.ok()) {
      const std::lock_guard lock(mutex);
      failure = s;
    }
    done += size;
    if (thread == 0) advance(done);
  });
  if (cancelled.load(std::memory_order_relaxed)) return {Code::kAborted, "load aborted"};
  return failure;
}

Status WeightCache::Write(const std::vector<bool>& wide_scales, const std::byte* memory, size_t bytes) const {
  std::vector<uint8_t> start(HeaderBytes(wide_scales.size()));
  uint8_t* wide = start.data() + sizeof(Header);
  for (size_t i = 0; i < wide_scales.size(); ++i) wide[i] = wide_scales[i];
  Header header{.key = {key_[0], key_[1]}, .weights = wide_scales.size(), .bytes = bytes};
  Sign(header, wide, header.checksum);
  std::memcpy(start.data(), &header, sizeof(header));

  std::string aside = path_ + ".XXXXXX";
  const Descriptor file{mkstemp(aside.data())};
  if (file.fd < 0) return Failed("cannot create a file beside it", path_);
  const auto give_up = [&](Status status) {
    unlink(aside.c_str());
    return status;
  };
  if (Status s = WriteFully(file.fd, start.data(), start.size(), path_); !s.ok()) return give_up(s);
  if (Status s = WriteFully(file.fd, memory, bytes, path_); !s.ok()) return give_up(s);
  if (fchmod(file.fd, 0644) != 0 || fsync(file.fd) != 0) return give_up(Failed("cannot sync", path_));
  if (rename(aside.c_str(), path_.c_str()) != 0) return give_up(Failed("cannot rename", path_));
  const Descriptor folder{
      open(path_.substr(0, path_.rfind('/') + 1).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.fd >= 0) fsync(folder.fd);
  return Status::Ok();
}

}  // namespace skein
