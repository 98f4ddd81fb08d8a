#pragma once

#include <cstdint>
#include <numeric>
#include <span>

#include "core/matrix.h"
#include "core/program_spec.h"
#include "skein/channel.h"

namespace skein {

/// Columns of the ranks before `rank`.
inline size_t ColumnsBefore(std::span<const uint32_t> widths, size_t rank) {
  return std::accumulate(widths.begin(), widths.begin() + static_cast<long>(rank), size_t{0});
}

/// What the ranks of a group do together. All of them call the same operations in the same order, with shapes
/// that follow from the step, so that each knows what every other sends. ChannelCommunicator does it in the
/// host's memory; a device's own library may do it in the device's. One thread calls; no call allocates.
///
/// An error says which operation of which step it was (`op` names it), and which ranks had not spoken.
/// kDeadline, kPeerLost, kAborted; kInternal when a rank is at another operation, or sent another size.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual size_t size() const = 0;
  virtual size_t rank() const = 0;
  /// Operations are numbered anew from here on.
  virtual void BeginStep(uint64_t step) = 0;

  /// sends[r] goes to rank r, whose matrix for this rank fills receives[r]; both have an entry per rank, and
  /// this rank's own are not looked at. Rows may differ on the two sides as long as the elements, row by row,
  /// are as many; a matrix without elements stands for no message.
  virtual Status AllToAll(const char* op, std::span<const Matrix> sends,
                          std::span<const Matrix> receives) = 0;
  /// out = the x of all ranks side by side, rank r's `widths[r]` wide. x may be its own place in out.
  virtual Status AllGather(const char* op, Matrix x, std::span<const uint32_t> widths, Matrix out) = 0;
  /// out = the x of all ranks, element by element: added in a binary tree over ranks, ((0+1)+(2+3))+..., or
  /// the bits of the one that has any. The same bits on every rank. out may be x.
  virtual Status AllReduce(const char* op, Matrix x, Reduction reduction, Matrix out) = 0;
  /// The same, and rank r keeps `widths[r]` columns of it: out has this rank's, and may be their place in x.
  virtual Status ReduceScatter(const char* op, Matrix x, std::span<const uint32_t> widths,
                               Reduction reduction, Matrix out) = 0;
  /// The x of rank `root` fills that of every other.
  virtual Status Broadcast(const char* op, size_t root, Matrix x) = 0;
};

}  // namespace skein
