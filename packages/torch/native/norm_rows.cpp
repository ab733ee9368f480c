// What stands between the products of generation, for the few rows of a step: the root-mean-square norm and the rotary
// turn. Each is a handful of small operations otherwise, whose calls cost more than their arithmetic. A row's result is
// the same bits in any batch. Where these kernels do not reach, nothing is returned and the caller takes the long way.
#include <c10/core/GradMode.h>

#include <cmath>

#include "core.h"
#include "rows_vector.h"

namespace tessera {
namespace {

#ifdef TESSERA_ROWS
/** Float32 on the CPU, without a gradient to record. */
bool isPlain(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && !(c10::GradMode::is_enabled() && x.requires_grad());
}

TESSERA_AVX2 void normRow(const float* x, const float* weight, float* out, int64_t width, float eps) {
  __m256 even = _mm256_setzero_ps(), odd = _mm256_setzero_ps();
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) {
    const __m256 first = _mm256_loadu_ps(x + i), second = _mm256_loadu_ps(x + i + 8);
    even = _mm256_fmadd_ps(first, first, even);
    odd = _mm256_fmadd_ps(second, second, odd);
  }
  float squares = sumOf(_mm256_add_ps(even, odd));
  for (; i < width; ++i) squares += x[i] * x[i];
  const float scale = 1 / std::sqrt(squares / static_cast<float>(width) + eps);
  const __m256 scales = _mm256_set1_ps(scale);
  for (i = 0; i + 8 <= width; i += 8) {
    const __m256 normed = _mm256_mul_ps(_mm256_loadu_ps(x + i), scales);
    _mm256_storeu_ps(out + i, _mm256_mul_ps(normed, _mm256_loadu_ps(weight + i)));
  }
  for (; i < width; ++i) out[i] = x[i] * scale * weight[i];
}

/** Pairs of neighbours: (a, b) → (a cos − b sin, b cos + a sin), the sign in the table. */
TESSERA_AVX2 void turnHead(const float* x, const float* cos, const float* sin, float* out, int64_t width) {
  for (int64_t i = 0; i < width; i += 8) {
    const __m256 pairs = _mm256_loadu_ps(x + i);
    const __m256 swapped = _mm256_permute_ps(pairs, 0b10110001);
    const __m256 along = _mm256_mul_ps(pairs, _mm256_loadu_ps(cos + i));
    _mm256_storeu_ps(out + i, _mm256_add_ps(along, _mm256_mul_ps(swapped, _mm256_loadu_ps(sin + i))));
  }
}
#endif

/** normRows(x [..., D], weight [D], eps) → x / sqrt(mean(x²) + eps) · weight, or nothing. */
napi_value normRows(Arguments& a) {
  const at::Tensor& x = a.tensor(0);
  const at::Tensor& weight = a.tensor(1);
  const float eps = static_cast<float>(a.real(2));
  if (x.dim() < 1 || weight.dim() != 1 || x.size(-1) != weight.size(0)) {
    throw std::runtime_error("expected x [..., D] and a weight [D]");
  }
#ifdef TESSERA_ROWS
  if (hasAvx2() && isPlain(x) && isPlain(weight) && x.is_contiguous() && weight.is_contiguous()) {
    const int64_t width = x.size(-1);
    at::Tensor out = at::empty(x.sizes(), x.options());
    const float* from = x.const_data_ptr<float>();
    float* to = out.data_ptr<float>();
    for (int64_t at = 0; at < x.numel(); at += width) {
      normRow(from + at, weight.const_data_ptr<float>(), to + at, width, eps);
    }
    return a.result(out);
  }
#endif
  (void)eps;
  return a.nothing();
}

/** turnRows(x [B, S, H, K], cos and sin [S, K] or [B, 1, 1, K]) → [B, S, H, K], or nothing. */
napi_value turnRows(Arguments& a) {
  const at::Tensor& x = a.tensor(0);
  const at::Tensor& cos = a.tensor(1);
  const at::Tensor& sin = a.tensor(2);
#ifdef TESSERA_ROWS
  if (hasAvx2() && isPlain(x) && x.dim() == 4 && x.size(3) % 8 == 0 && x.stride(3) == 1 && x.stride(2) == x.size(3) &&
      isPlain(cos) && isPlain(sin) && cos.is_contiguous() && sin.is_contiguous() && cos.sizes() == sin.sizes()) {
    const int64_t batch = x.size(0), positions = x.size(1), heads = x.size(2), width = x.size(3);
    const bool bySequence = cos.sizes() == at::IntArrayRef({batch, 1, 1, width});
    if (bySequence || cos.sizes() == at::IntArrayRef({positions, width})) {
      at::Tensor out = at::empty(x.sizes(), x.options());
      const float* from = x.const_data_ptr<float>();
      float* to = out.data_ptr<float>();
      for (int64_t b = 0; b < batch; ++b) {
        for (int64_t s = 0; s < positions; ++s) {
          const int64_t row = (bySequence ? b : s) * width;
          for (int64_t h = 0; h < heads; ++h) {
            turnHead(from + b * x.stride(0) + s * x.stride(1) + h * width, cos.const_data_ptr<float>() + row,
                     sin.const_data_ptr<float>() + row, to, width);
            to += width;
          }
        }
      }
      return a.result(out);
    }
  }
#endif
  (void)x, (void)cos, (void)sin;
  return a.nothing();
}

}  // namespace

const CoreEntry kNormRowsFunctions[] = {
    {"normRows", normRows},
    {"turnRows", turnRows},
    {nullptr, nullptr},
};

}  // namespace tessera
