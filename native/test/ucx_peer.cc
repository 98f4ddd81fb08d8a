#include "ucx_peer.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>

#include "check.h"

namespace skein::test {
namespace {

void KeepOverExec(int fd) {
  const int copy = dup(fd);
  dup2(copy, fd);
  close(copy);
}

}  // namespace

void WriteFrame(int fd, const std::vector<uint8_t>& bytes) {
  const auto size = static_cast<uint32_t>(bytes.size());
  CHECK_EQ(write(fd, &size, sizeof(size)), static_cast<ssize_t>(sizeof(size)));
  CHECK_EQ(write(fd, bytes.data(), size), static_cast<ssize_t>(size));
}

std::vector<uint8_t> ReadFrame(int fd) {
  uint32_t size = 0;
  if (recv(fd, &size, sizeof(size), MSG_WAITALL) != static_cast<ssize_t>(sizeof(size))) return {};
  std::vector<uint8_t> bytes(size);
  if (recv(fd, bytes.data(), size, MSG_WAITALL) != static_cast<ssize_t>(size)) return {};
  return bytes;
}

void WriteText(int fd, const std::string& text) { WriteFrame(fd, {text.begin(), text.end()}); }

std::string ReadText(int fd) {
  const auto bytes = ReadFrame(fd);
  return {bytes.begin(), bytes.end()};
}

Peer::Peer(const std::string& role, std::vector<std::string> arguments, const std::string& netns) {
  int sockets[2];
  CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  char self[512] = {};
  CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
  std::vector<std::string> words;
  if (!netns.empty()) words = {"ip", "netns", "exec", netns};
  words.insert(words.end(), {self, "--role", role});
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::fflush(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    dup2(sockets[1], kPeerSocket);
    if (sockets[1] == kPeerSocket) KeepOverExec(sockets[1]);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  close(sockets[1]);
  socket_ = sockets[0];
}

Peer::~Peer() {
  Signal(SIGKILL);
  if (socket_ >= 0) close(socket_);
  int status = 0;
  waitpid(pid_, &status, 0);
}

void Peer::Signal(int signal) { kill(pid_, signal); }

std::vector<uint8_t> StreamMessage(uint32_t index) {
  static const size_t kSizes[] = {0, 1, 8192, 65535, 65536, 65537, 1 << 20, 8 << 20};
  std::minstd_rand random(index + 1);
  const size_t size = index < 8 ? kSizes[index] : index % 16 == 0 ? random() % (2 << 20) : random() % 20'000;
  std::vector<uint8_t> data(size);
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = (uint64_t{random()} << 31) ^ i;
    std::memcpy(data.data() + i, &word, std::min<size_t>(8, size - i));
  }
  return data;
}

std::string CodeText(const Status& status) {
  switch (status.code()) {
    case Code::kOk:
      return "ok";
    case Code::kDeadline:
      return "deadline";
    case Code::kPeerLost:
      return "peer lost";
    default:
      return "other: " + status.message();
  }
}

}  // namespace skein::test
