#include "stored_fixture.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

#include "check.h"

namespace skein::test {

StoredFixture::StoredFixture() {
  const std::string base = SKEIN_NATIVE_FIXTURES "/stored-weights";
  file_ = base + ".bin";
  std::ifstream bytes(file_, std::ios::binary);
  bytes_.assign(std::istreambuf_iterator<char>(bytes), {});
  std::ifstream lines(base + ".txt");
  CHECK(!bytes_.empty() && lines.good());
  for (std::string line; std::getline(lines, line);) ReadLine(line);
}

void StoredFixture::ReadLine(const std::string& line) {
  std::istringstream words(line);
  std::string kind;
  words >> kind;
  if (kind == "case") {
    StoredCase& next = cases.emplace_back();
    next.weight.shape.resize(2);
    words >> next.name >> next.weight.shape[0] >> next.weight.shape[1] >> format_;
    next.weight.name = next.name;
    options_.clear(), tensors_.clear();
    for (std::string option; words >> option;) {
      const size_t at = option.find('=');
      options_[option.substr(0, at)] = static_cast<uint32_t>(std::stoul(option.substr(at + 1)));
    }
  } else if (kind == "tensor") {
    std::string role, dtype;
    TensorSource tensor;
    words >> role >> dtype >> tensor.offset_bytes >> tensor.size_bytes;
    tensor.name = role;
    tensor.file = file_;
    for (int d = 0; d <= static_cast<int>(TensorDtype::kQ6_K); ++d)
      if (dtype == InfoOf(static_cast<TensorDtype>(d)).name) tensor.dtype = static_cast<TensorDtype>(d);
    for (uint64_t n; words >> n;) tensor.shape.push_back(n);
    tensors_[role] = tensor;
  } else {
    size_t offset;
    words >> offset;
    StoredCase& c = cases.back();
    c.expected.resize(c.weight.shape[0] * c.weight.shape[1]);
    std::memcpy(c.expected.data(), bytes_.data() + offset, c.expected.size() * sizeof(float));
    c.weight.stored = Stored();
  }
}

StoredWeight StoredFixture::Stored() {
  const auto optional = [&](const char* role) {
    const auto it = tensors_.find(role);
    return it == tensors_.end() ? std::nullopt : std::optional(it->second);
  };
  auto& t = tensors_;
  auto& o = options_;
  if (format_ == "gptq") {
    return GptqWeight{o["bits"],   o["group"],       t["qweight"],   t["qzeros"],
                      t["scales"], optional("gIdx"), o["zeroOffset"]};
  }
  if (format_ == "awq") return AwqWeight{o["group"], t["qweight"], t["qzeros"], t["scales"]};
  if (format_ == "packed") {
    return PackedWeight{o["bits"],       o["group"], t["packed"], t["scale"], optional("zeroPoint"),
                        optional("gIdx")};
  }
  if (format_ == "int8") return Int8Weight{o["group"], t["weight"], t["scale"], optional("zeroPoint")};
  if (format_ == "fp8") return Fp8Weight{t["weight"], t["scale"], o["blockRows"], o["blockCols"]};
  return PlainWeight{t["tensor"]};
}

}  // namespace skein::test
