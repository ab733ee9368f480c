// The draw of masked sampling in one pass over each row of logits: guidance, the softmax at two temperatures, Exp(1) noise and
// the largest quotient, which are a dozen passes over [B, M, V] otherwise. A row's result does not depend on its batch.
//
// argmax(p / e) needs the noise of the few codes that can win, so an addressed e is first made to a part in a thousand in
// float32, and to the last bit, as noise_arithmetic.h has it, only where the quotient comes within kMargin of the largest.
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <limits>

#include "core.h"
#include "noise_arithmetic.h"
#include "noise_key.h"
#include "rows_vector.h"

namespace tessera {
namespace {

#ifdef TESSERA_ROWS
/** Entries of logits that are worth a thread. */
constexpr int64_t kLogitsAThread = 8192;
/** Four times what both rough quotients can be off by together. */
constexpr float kMargin = 4e-3f;

/** log(u) of normal u > 0 within 2e-7 and, near 1, within 2e-7 of its value (the polynomial of Cephes' logf). */
TESSERA_AVX2 inline __m256 roughLog(__m256 u) {
  const __m256 one = _mm256_set1_ps(1);
  const __m256i bits = _mm256_castps_si256(u);
  // The mantissa in [√½, √2): the exponent is that of u / √½.
  const __m256i shifted = _mm256_sub_epi32(bits, _mm256_set1_epi32(0x3F3504F3));
  const __m256 exponent = _mm256_cvtepi32_ps(_mm256_srai_epi32(shifted, 23));
  const __m256i mantissa = _mm256_sub_epi32(bits, _mm256_and_si256(shifted, _mm256_set1_epi32(static_cast<int>(0xFF800000u))));
  const __m256 x = _mm256_sub_ps(_mm256_castsi256_ps(mantissa), one);
  __m256 p = _mm256_set1_ps(7.0376836292e-2f);
#pragma GCC unroll 8
  for (const float next : {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
                           2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f}) {
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(next));
  }
  const __m256 squared = _mm256_mul_ps(x, x);
  p = _mm256_fmadd_ps(_mm256_mul_ps(squared, x), p, _mm256_fnmadd_ps(_mm256_set1_ps(0.5f), squared, x));
  return _mm256_fmadd_ps(exponent, _mm256_set1_ps(0.69314718056f), p);
}

/** word + 0.5, rounded: two halves, since only signed words convert. */
TESSERA_AVX2 inline __m256 middleOf(__m256i words) {
  const __m256 high = _mm256_cvtepi32_ps(_mm256_srli_epi32(words, 16));
  const __m256 low = _mm256_cvtepi32_ps(_mm256_and_si256(words, _mm256_set1_epi32(0xFFFF)));
  return _mm256_fmadd_ps(high, _mm256_set1_ps(65536), _mm256_add_ps(low, _mm256_set1_ps(0.5f)));
}

/** -log((word + 0.5) / 2^32) within 5e-4 of its value. */
TESSERA_AVX2 inline __m256 roughExponential(__m256i words) {
  const __m256 unit = _mm256_set1_ps(1.0f / 4294967296.0f);
  const __m256 u = _mm256_mul_ps(middleOf(words), unit);
  // Near 1 the difference from it, which u has rounded away, is the value: -log(1 - v) = v + v²/2 + …
  const __m256 v = _mm256_mul_ps(middleOf(_mm256_xor_si256(words, _mm256_set1_epi32(-1))), unit);
  const __m256 far = _mm256_sub_ps(_mm256_setzero_ps(), roughLog(u));
  return _mm256_blendv_ps(far, v, _mm256_cmp_ps(v, _mm256_set1_ps(2.4e-4f), _CMP_LT_OQ));
}

/** Rough noise of codes 0, 1, …, in blocks of 32: eight counters of the generator side by side. */
TESSERA_AVX2 void roughNoise(float* out, int64_t codes, uint32_t position, uint32_t image, const NoiseAddress& where) {
  const __m256i multiplier0 = _mm256_set1_epi32(static_cast<int>(0xD2511F53u));
  const __m256i multiplier1 = _mm256_set1_epi32(static_cast<int>(0xCD9E8D57u));
  // High and low words of eight products: of the even lanes as they stand, of the odd ones after a shift.
  const auto multiply = [](__m256i a, __m256i b, __m256i& high, __m256i& low) TESSERA_AVX2 {
    const __m256i even = _mm256_mul_epu32(a, b);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), b);
    high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0b10101010);
    low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0b10101010);
  };
  for (int64_t code = 0; code < codes; code += 32) {
    __m256i c0 = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(code >> 2)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    __m256i c1 = _mm256_set1_epi32(static_cast<int>(position));
    __m256i c2 = _mm256_set1_epi32(static_cast<int>(image));
    __m256i c3 = _mm256_set1_epi32(static_cast<int>(where.stepAndPurpose));
    uint32_t key0 = where.key0, key1 = where.key1;
    for (int round = 0; round < 10; ++round) {
      __m256i high0, low0, high1, low1;
      multiply(c0, multiplier0, high0, low0);
      multiply(c2, multiplier1, high1, low1);
      c0 = _mm256_xor_si256(_mm256_xor_si256(high1, c1), _mm256_set1_epi32(static_cast<int>(key0)));
      c2 = _mm256_xor_si256(_mm256_xor_si256(high0, c3), _mm256_set1_epi32(static_cast<int>(key1)));
      c1 = low1;
      c3 = low0;
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    // A vector holds one word of eight counters; codes lie word by word of one counter.
    const __m256 e0 = roughExponential(c0), e1 = roughExponential(c1), e2 = roughExponential(c2), e3 = roughExponential(c3);
    const __m256 t0 = _mm256_unpacklo_ps(e0, e1), t1 = _mm256_unpackhi_ps(e0, e1);
    const __m256 t2 = _mm256_unpacklo_ps(e2, e3), t3 = _mm256_unpackhi_ps(e2, e3);
    const __m256 r0 = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(t0), _mm256_castps_pd(t2)));  // counters 0, 4
    const __m256 r1 = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(t0), _mm256_castps_pd(t2)));  // 1, 5
    const __m256 r2 = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(t1), _mm256_castps_pd(t3)));  // 2, 6
    const __m256 r3 = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(t1), _mm256_castps_pd(t3)));  // 3, 7
    _mm256_storeu_ps(out + code, _mm256_permute2f128_ps(r0, r1, 0x20));
    _mm256_storeu_ps(out + code + 8, _mm256_permute2f128_ps(r2, r3, 0x20));
    _mm256_storeu_ps(out + code + 16, _mm256_permute2f128_ps(r0, r1, 0x31));
    _mm256_storeu_ps(out + code + 24, _mm256_permute2f128_ps(r2, r3, 0x31));
  }
}

/** Rows of [B, M, V] whose last axis is dense; the batch may be one row seen many times. */
struct LogitRows {
  const float* first;
  int64_t batchStride, rowStride;

  explicit LogitRows(const at::Tensor& x)
      : first(x.const_data_ptr<float>()), batchStride(x.stride(0)), rowStride(x.stride(1)) {}
  const float* at(int64_t batch, int64_t row) const { return first + batch * batchStride + row * rowStride; }
};

/** Scratch of one thread: a row of V codes, filled up to whole blocks of 32. */
struct DrawRow {
  explicit DrawRow(int64_t codes) : codes(codes), padded((codes + 31) / 32 * 32), logits(padded), weights(padded), noise(padded) {}

  const int64_t codes, padded;
  std::vector<float> logits;   // guided; -∞ behind the last code
  std::vector<float> weights;  // e^((log p − largest) / temperature)
  std::vector<float> noise;
  float largest = 0, logSum = 0;

  /** logits = cond + (s − 1)(cond − uncond), each operation rounded by itself. */
  TESSERA_AVX2 void guide(const float* cond, const float* uncond, float scale) {
    float* const to = logits.data();
    int64_t i = 0;
    const __m256 scales = _mm256_set1_ps(scale);
    for (; i + 8 <= codes; i += 8) {
      const __m256 c = _mm256_loadu_ps(cond + i);
      if (uncond == nullptr) {
        _mm256_storeu_ps(to + i, c);
      } else {
        const __m256 difference = _mm256_mul_ps(_mm256_sub_ps(c, _mm256_loadu_ps(uncond + i)), scales);
        _mm256_storeu_ps(to + i, _mm256_add_ps(c, difference));
      }
    }
    for (; i < codes; ++i) to[i] = uncond == nullptr ? cond[i] : cond[i] + (cond[i] - uncond[i]) * scale;
    for (; i < padded; ++i) to[i] = -std::numeric_limits<float>::infinity();
  }

  /** log p of a code at temperature 1, in the order of libtorch's log-softmax. */
  float logProbability(int64_t code) const { return logits[code] - largest - logSum; }

  TESSERA_AVX2 void weigh(float temperature) {
    __m256 highest = _mm256_set1_ps(-std::numeric_limits<float>::infinity());
    for (int64_t i = 0; i < padded; i += 8) highest = _mm256_max_ps(_mm256_loadu_ps(&logits[i]), highest);
    largest = highestOf(highest);
    const __m256 top = _mm256_set1_ps(largest);
    __m256 sum = _mm256_setzero_ps();
    for (int64_t i = 0; i < padded; i += 8) sum = _mm256_add_ps(sum, expOf(_mm256_sub_ps(_mm256_loadu_ps(&logits[i]), top)));
    logSum = std::log(sumOf(sum));
    const __m256 subtracted = _mm256_set1_ps(logSum), divisor = _mm256_set1_ps(temperature);
    const __m256 peak = _mm256_set1_ps((0.0f - logSum) / temperature);
    for (int64_t i = 0; i < padded; i += 8) {
      const __m256 logP = _mm256_sub_ps(_mm256_sub_ps(_mm256_loadu_ps(&logits[i]), top), subtracted);
      _mm256_storeu_ps(&weights[i], expOf(_mm256_sub_ps(_mm256_div_ps(logP, divisor), peak)));
    }
  }

  TESSERA_AVX2 static float highestOf(__m256 v) {
    alignas(32) float lanes[8];
    _mm256_store_ps(lanes, v);
    return *std::max_element(lanes, lanes + 8);
  }

  /** The first code with the largest quotient. */
  int64_t drawWith(const float* exponential) const {
    int64_t best = 0;
    float most = -1;
    for (int64_t i = 0; i < codes; ++i) {
      const float quotient = weights[i] / exponential[i];
      if (quotient > most) most = quotient, best = i;
    }
    return best;
  }

  TESSERA_AVX2 int64_t drawAt(uint32_t position, uint32_t image, const NoiseAddress& where) {
    roughNoise(noise.data(), padded, position, image, where);
    __m256 highest = _mm256_set1_ps(-1);
    for (int64_t i = 0; i < padded; i += 8) {
      const __m256 quotient = _mm256_div_ps(_mm256_loadu_ps(&weights[i]), _mm256_loadu_ps(&noise[i]));
      _mm256_storeu_ps(&noise[i], quotient);
      highest = _mm256_max_ps(quotient, highest);
    }
    const float least = highestOf(highest) * (1 - kMargin);
    int64_t best = 0;
    float most = -1;
    const __m256 bound = _mm256_set1_ps(least);
    for (int64_t first = 0; first < codes; first += 8) {
      int lanes = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(&noise[first]), bound, _CMP_GE_OQ));
      for (; lanes != 0; lanes &= lanes - 1) {
        const int64_t i = first + __builtin_ctz(static_cast<unsigned>(lanes));
        if (i >= codes) break;
        const Words words = noiseWords(i, position, image, where);
        const float quotient = weights[i] / static_cast<float>(exponentialFromBits(words.at[i & 3]));
        if (quotient > most) most = quotient, best = i;
      }
    }
    return best;
  }
};

bool areLogits(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && x.dim() == 3 && (x.size(2) == 1 || x.stride(2) == 1) &&
         !(c10::GradMode::is_enabled() && x.requires_grad());
}
#endif

/**
 * drawRows(cond [B, M, V], uncond [B, M, V] or nothing, s − 1, temperature, Exp(1) noise [B, M, V] or nothing; without it
 * images [B], positions [B, M], seed, step, purpose) → codes [B, M] int64 and their log-probabilities, or nothing.
 */
napi_value drawRows(Arguments& a) {
#ifdef TESSERA_ROWS
  const at::Tensor& cond = a.tensor(0);
  const std::optional<at::Tensor> uncond = a.optionalTensor(1);
  const std::optional<at::Tensor> exponential = a.optionalTensor(4);
  const float scale = static_cast<float>(a.real(2)), temperature = static_cast<float>(a.real(3));
  for (const std::optional<at::Tensor>* other : {&uncond, &exponential}) {
    if (!other->has_value()) continue;
    if ((*other)->sizes() != cond.sizes()) throw std::runtime_error("expected logits and noise of one shape");
    if (!areLogits(**other)) return a.nothing();
  }
  if (!hasAvx2() || !areLogits(cond) || cond.size(2) < 1 || !(temperature > 0)) return a.nothing();
  const int64_t batch = cond.size(0), rows = cond.size(1), codes = cond.size(2);
  at::Tensor images, positions;
  NoiseAddress where{};
  if (!exponential.has_value()) {
    images = noiseIndices(a, 5, 1, at::kCPU);
    positions = noiseIndices(a, 6, 2, at::kCPU);
    where = noiseAddress(a, 7);
    if (images.size(0) != batch || positions.size(0) != batch || positions.size(1) != rows) {
      throw std::runtime_error("expected an image and the positions of its rows for every sample of the logits");
    }
  }
  at::Tensor drawn = at::empty({batch, rows}, at::kLong);
  at::Tensor logProbabilities = at::empty({batch, rows}, at::kFloat);
  const LogitRows conds(cond);
  const std::optional<LogitRows> unconds = uncond.has_value() ? std::optional(LogitRows(*uncond)) : std::nullopt;
  const std::optional<LogitRows> noises = exponential.has_value() ? std::optional(LogitRows(*exponential)) : std::nullopt;
  const int64_t* image = exponential.has_value() ? nullptr : images.const_data_ptr<int64_t>();
  const int64_t* position = exponential.has_value() ? nullptr : positions.const_data_ptr<int64_t>();
  int64_t* const codesOut = drawn.data_ptr<int64_t>();
  float* const logsOut = logProbabilities.data_ptr<float>();
  at::parallel_for(0, batch * rows, std::max<int64_t>(1, kLogitsAThread / codes), [&](int64_t begin, int64_t end) {
    DrawRow row(codes);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / rows, m = i % rows;
      row.guide(conds.at(b, m), unconds ? unconds->at(b, m) : nullptr, scale);
      row.weigh(temperature);
      codesOut[i] = noises ? row.drawWith(noises->at(b, m))
                           : row.drawAt(static_cast<uint32_t>(position[i]), static_cast<uint32_t>(image[b]), where);
      logsOut[i] = row.logProbability(codesOut[i]);
    }
  });
  return a.result(std::vector<at::Tensor>{drawn, logProbabilities});
#else
  return a.nothing();
#endif
}

}  // namespace

const CoreEntry kDrawRowsFunctions[] = {
    {"drawRows", drawRows},
    {nullptr, nullptr},
};

}  // namespace tessera
