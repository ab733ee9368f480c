// The transposition by which kernels that multiply tiles lay out what a tile reads, whatever their number of lanes.
#pragma once

#include "rows_vector.h"

#ifdef TESSERA_ROWS
namespace tessera {

/** to [8, 8] = the transpose of lines [8, 8]. */
TESSERA_AVX2 inline void transposeLines(const __m256 (&lines)[8], __m256 (&to)[8]) {
  __m256 pairs[8], fours[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(lines[i], lines[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(lines[i], lines[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
    fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    to[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
    to[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
  }
}

/** to [8, 8] = the transpose of rows [8, 8]. */
TESSERA_AVX2 inline void transposeEight(const float* rows, int64_t stride, float* to, int64_t toStride) {
  __m256 lines[8], columns[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) lines[i] = _mm256_loadu_ps(rows + i * stride);
  transposeLines(lines, columns);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) _mm256_storeu_ps(to + i * toStride, columns[i]);
}

/** to [width, 8] = the transpose of rows [count, width], zeros where rows are missing; count and width up to 8, count 0 too. */
TESSERA_AVX2 inline void transposeUpToEight(const float* rows, int64_t stride, int64_t count, int64_t width, float* to,
                                            int64_t toStride) {
  __m256 lines[8], columns[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) lines[i] = i < count ? lanes8::loadFirst(rows + i * stride, width) : _mm256_setzero_ps();
  transposeLines(lines, columns);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    if (i < width) _mm256_storeu_ps(to + i * toStride, columns[i]);
  }
}

}  // namespace tessera
#endif
