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
#include "noise_rough.h"
#include "rows_vector.h"

namespace tessera {
namespace {

#ifdef TESSERA_ROWS
/** Entries of logits that are worth a thread. */
constexpr int64_t kLogitsAThread = 8192;
/** Four times what both rough quotients can be off by together. */
constexpr float kMargin = 4e-3f;

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
