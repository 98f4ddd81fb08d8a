#pragma once

#include <string>
#include <utility>

namespace skein {

/// Stable error codes; the binding turns them into `ERR_…` strings of the same words.
enum class Code {
  kOk,
  kInvalidArgument,  ///< the caller's spec or option is wrong
  kStepInput,        ///< a step's packed input is wrong; nothing ran
  kDeadline,
  kPeerLost,
  kAborted,
  kUnavailable,  ///< a library or device is not here
  kFile,         ///< a file is missing, short or malformed
  kInternal,
};

/// Outcome of an operation. Ours everywhere outside the binding: no exceptions cross a thread.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  static Status Ok() { return {}; }
  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

}  // namespace skein
