#pragma once

namespace skein::cpu {

/// Whether integer kernels use the instruction that adds four products of bytes to a 32-bit lane, where an
/// instruction level has a form for it: this processor must have AVX-512 VNNI, or dotprod on Arm. Their
/// results are the same bits without it.
bool UseQuadDots();

/// False: as if the processor lacked it. Not while kernels run.
void AllowQuadDotsForTest(bool allowed);

}  // namespace skein::cpu
