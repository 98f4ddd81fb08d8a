#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "skein/channel.h"
#include "skein/status.h"

/// A second process for the UCX tests: this executable again, in a role, with a socket to the test. UCX does
/// not survive fork, so exec.
namespace skein::test {

constexpr int kPeerSocket = 3;

inline Deadline In(int ms) { return Clock::now() + std::chrono::milliseconds(ms); }

inline int64_t MillisecondsSince(Deadline start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
}

void WriteFrame(int fd, const std::vector<uint8_t>& bytes);
/// Empty when the other side has ended.
std::vector<uint8_t> ReadFrame(int fd);
void WriteText(int fd, const std::string& text);
std::string ReadText(int fd);

class Peer {
 public:
  /// Runs `role` with `arguments`, inside network namespace `netns` unless it is empty.
  Peer(const std::string& role, std::vector<std::string> arguments, const std::string& netns = "");
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  int socket() const { return socket_; }
  pid_t pid() const { return pid_; }
  void Signal(int signal);

 private:
  pid_t pid_ = -1;
  int socket_ = -1;
};

/// Message `index` of a stream: 0 to 8 MiB, mostly small; the bytes follow from the index.
std::vector<uint8_t> StreamMessage(uint32_t index);

std::string CodeText(const Status& status);

}  // namespace skein::test
