// Vectors of floats under one set of names, eight lanes wide in lanes8 (AVX2) and sixteen in lanes16 (AVX-512), so that a kernel
// is written once. No template can change the processor that it is compiled for: such a kernel stands in a header of its own
// that is included in both namespaces, with TESSERA_VECTOR before its functions. Callers ask hasAvx2() or hasAvx512() first.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#define TESSERA_ROWS 1
#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#define TESSERA_AVX2 __attribute__((target("avx2,fma")))
#define TESSERA_AVX512 __attribute__((target("avx2,fma,avx512f")))

namespace tessera {

/** Lanes that kernels may use at most: TESSERA_LANES, 16 unless told otherwise; below 8 libtorch does all. */
inline int mostLanes() {
  static const char* const setting = std::getenv("TESSERA_LANES");
  static const int lanes = setting == nullptr ? 16 : std::atoi(setting);
  return lanes;
}

inline bool hasAvx2() {
  static const bool has = mostLanes() >= 8 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
}

inline bool hasAvx512() {
  static const bool has = mostLanes() >= 16 && hasAvx2() && __builtin_cpu_supports("avx512f");
  return has;
}

namespace lanes8 {
using Vector = __m256;
constexpr int kLanes = 8;
/** Rows of a tile of two vectors: 12 of 16 registers hold its sums. */
constexpr int kTileRows = 6;
TESSERA_AVX2 inline Vector load(const float* at) { return _mm256_loadu_ps(at); }
TESSERA_AVX2 inline void store(float* at, Vector v) { _mm256_storeu_ps(at, v); }
TESSERA_AVX2 inline Vector all(float x) { return _mm256_set1_ps(x); }
TESSERA_AVX2 inline Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
TESSERA_AVX2 inline Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
TESSERA_AVX2 inline Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
/** a · b + c, rounded once. */
TESSERA_AVX2 inline Vector multiplyAdd(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
/** c − a · b, rounded once. */
TESSERA_AVX2 inline Vector subtractProduct(Vector a, Vector b, Vector c) { return _mm256_fnmadd_ps(a, b, c); }
/** b where one of them is NaN. */
TESSERA_AVX2 inline Vector larger(Vector a, Vector b) { return _mm256_max_ps(a, b); }
TESSERA_AVX2 inline Vector smaller(Vector a, Vector b) { return _mm256_min_ps(a, b); }
TESSERA_AVX2 inline Vector nearest(Vector x) {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/** 2^n of whole numbers n from -126 to 127. */
TESSERA_AVX2 inline Vector powerOfTwo(Vector n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
/** v, but 0 where x < bound. */
TESSERA_AVX2 inline Vector zeroBelow(Vector bound, Vector x, Vector v) {
  return _mm256_and_ps(v, _mm256_cmp_ps(x, bound, _CMP_NLT_UQ));
}
/** All bits of the first `count` lanes. */
TESSERA_AVX2 inline __m256i firstLanes(int64_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
}
/** The first `count` lanes from memory, zeros behind; no more than these is read. */
TESSERA_AVX2 inline Vector loadFirst(const float* at, int64_t count) { return _mm256_maskload_ps(at, firstLanes(count)); }
TESSERA_AVX2 inline void storeFirst(float* at, Vector v, int64_t count) { _mm256_maskstore_ps(at, firstLanes(count), v); }
/** The sum of the lanes, in one fixed order. */
TESSERA_AVX2 inline float sumOf(Vector v) {
  const Vector none = _mm256_setzero_ps();
  const Vector sums = _mm256_hadd_ps(_mm256_hadd_ps(v, none), none);
  return _mm_cvtss_f32(_mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
}
}  // namespace lanes8

namespace lanes16 {
using Vector = __m512;
constexpr int kLanes = 16;
/** 24 of 32 registers. */
constexpr int kTileRows = 12;
TESSERA_AVX512 inline Vector load(const float* at) { return _mm512_loadu_ps(at); }
TESSERA_AVX512 inline void store(float* at, Vector v) { _mm512_storeu_ps(at, v); }
TESSERA_AVX512 inline Vector all(float x) { return _mm512_set1_ps(x); }
TESSERA_AVX512 inline Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
TESSERA_AVX512 inline Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
TESSERA_AVX512 inline Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
TESSERA_AVX512 inline Vector multiplyAdd(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
TESSERA_AVX512 inline Vector subtractProduct(Vector a, Vector b, Vector c) { return _mm512_fnmadd_ps(a, b, c); }
TESSERA_AVX512 inline Vector larger(Vector a, Vector b) { return _mm512_max_ps(a, b); }
TESSERA_AVX512 inline Vector smaller(Vector a, Vector b) { return _mm512_min_ps(a, b); }
TESSERA_AVX512 inline Vector nearest(Vector x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
TESSERA_AVX512 inline Vector powerOfTwo(Vector n) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
TESSERA_AVX512 inline Vector zeroBelow(Vector bound, Vector x, Vector v) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, bound, _CMP_NLT_UQ), v);
}
TESSERA_AVX512 inline __mmask16 firstLanes(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }
TESSERA_AVX512 inline Vector loadFirst(const float* at, int64_t count) {
  return _mm512_maskz_loadu_ps(firstLanes(count), at);
}
TESSERA_AVX512 inline void storeFirst(float* at, Vector v, int64_t count) {
  _mm512_mask_storeu_ps(at, firstLanes(count), v);
}
TESSERA_AVX512 inline float sumOf(Vector v) {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
  return lanes8::sumOf(_mm256_add_ps(_mm512_castps512_ps256(v), high));
}
}  // namespace lanes16

}  // namespace tessera

#define TESSERA_VECTOR TESSERA_AVX2
namespace tessera::lanes8 {
#include "lanes_functions.h"
}
#undef TESSERA_VECTOR
#define TESSERA_VECTOR TESSERA_AVX512
namespace tessera::lanes16 {
#include "lanes_functions.h"
}
#undef TESSERA_VECTOR
#endif
