// What the kernels that multiply tiles share: a tile of six rows and two vectors, whose sums fill the sixteen registers of AVX2,
// and the layout in which it reads the other side. Only for processors with AVX2 and FMA and no wider vectors, whose own
// libraries use those: whoever includes this asks multipliesTiles() first.
#pragma once

#include "rows_vector.h"

#ifdef TESSERA_ROWS
namespace tessera {

inline bool multipliesTiles() {
  static const bool does = hasAvx2() && !__builtin_cpu_supports("avx512f");
  return does;
}

/** Rows of a tile: with two vectors each, all sums stay in registers. */
constexpr int kTileRows = 6;
/** Columns of a panel: what a tile reads of the other side in one step. */
constexpr int64_t kPanel = 16;

/** to [8, 8] = the transpose of rows [8, 8]. */
TESSERA_AVX2 inline void transposeEight(const float* rows, int64_t stride, float* to, int64_t toStride) {
  __m256 lines[8], pairs[8], fours[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) lines[i] = _mm256_loadu_ps(rows + i * stride);
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
    _mm256_storeu_ps(to + i * toStride, _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20));
    _mm256_storeu_ps(to + (i + 4) * toStride, _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31));
  }
}

/** sums = rows [6, depth] · panel [depth, 8 · Vectors]. */
template <int Vectors>
TESSERA_AVX2 inline void multiplyTile(const float* const (&rows)[kTileRows], int64_t depth, const float* panel,
                                      __m256 (&sums)[kTileRows][Vectors]) {
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) sums[r][v] = _mm256_setzero_ps();
  }
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    __m256 columns[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) columns[v] = _mm256_loadu_ps(panel + (k * Vectors + v) * 8);
#pragma GCC unroll 6
    for (int r = 0; r < kTileRows; ++r) {
      const __m256 factor = _mm256_broadcast_ss(rows[r] + k);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sums[r][v] = _mm256_fmadd_ps(factor, columns[v], sums[r][v]);
    }
  }
}

}  // namespace tessera
#endif
