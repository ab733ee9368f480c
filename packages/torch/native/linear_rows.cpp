// Linear maps of few rows: generation multiplies a handful of rows with every weight at each step, so what costs is
// reading the weights. A general matrix product packs them first and gains nothing by it; here each weight is read once,
// in order, fetched ahead, and used for four rows of the input at a time while it lies in the nearest cache.
//
// An output is one dot product, added up in the same order whatever the number of rows, threads or neighbours: a row's
// result is the same bits in any batch. Weights may be int8 with one scale an output: a quarter of the bytes. What follows
// a product at once, the sum with the branch's input or the gate of a SwiGLU, is done where the outputs are made.
#include <ATen/Parallel.h>

#include <algorithm>

#include "core.h"
#include "rows_vector.h"

namespace tessera {
namespace {

/** From here on libtorch's product is faster. */
constexpr int64_t kMostRows = 16;
/** Outputs that are worth a thread. */
constexpr int64_t kOutputsAThread = 96;

#ifdef TESSERA_ROWS
constexpr int64_t kTile = 3;   // outputs computed together; with 4 rows they fill the 16 registers
constexpr int64_t kAhead = 2;  // tiles fetched ahead

/** What of a tile's rows comes after, to be fetched meanwhile: `bytes` a step of one input channel. */
struct Fetch {
  const char* from;
  int64_t bytes;
};

/** out[m, n] = x[m] · w[n] for Rows rows of x and Outputs rows of w, all of length k. */
template <int Rows, int Outputs>
TESSERA_AVX2 void dotTile(const float* x, const float* w, float* out, int64_t k, int64_t outStride, Fetch fetch) {
  // Unrolled by command: only then do the sums live in registers. Rows that are not there stay 0.
  __m256 sums[4][Outputs];
#pragma GCC unroll 4
  for (int m = 0; m < 4; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < Outputs; ++n) sums[m][n] = _mm256_setzero_ps();
  }
  int64_t at = 0;
  for (; at + 8 <= k; at += 8) {
    __m256 weights[Outputs];
#pragma GCC unroll 4
    for (int n = 0; n < Outputs; ++n) weights[n] = _mm256_loadu_ps(w + n * k + at);
    if (fetch.from != nullptr) {
      const char* line = fetch.from + at * fetch.bytes;
      _mm_prefetch(line, _MM_HINT_T1);
      if (fetch.bytes > 8) _mm_prefetch(line + 64, _MM_HINT_T1);  // 8 channels are more than a line
    }
#pragma GCC unroll 4
    for (int m = 0; m < Rows; ++m) {
      const __m256 input = _mm256_loadu_ps(x + m * k + at);
#pragma GCC unroll 4
      for (int n = 0; n < Outputs; ++n) sums[m][n] = _mm256_fmadd_ps(input, weights[n], sums[m][n]);
    }
  }
#pragma GCC unroll 4
  for (int n = 0; n < Outputs; ++n) {
    alignas(16) float rows[4];
    _mm_store_ps(rows, sumsOf(sums[0][n], sums[1][n], sums[2][n], sums[3][n]));
#pragma GCC unroll 4
    for (int m = 0; m < Rows; ++m) {
      for (int64_t rest = at; rest < k; ++rest) rows[m] += x[m * k + rest] * w[n * k + rest];
      out[m * outStride + n] = rows[m];
    }
  }
}

template <int Outputs>
void dotRows(const float* x, const float* w, float* out, int64_t rows, int64_t k, int64_t outStride, const char* next,
             int64_t nextBytes) {
  const int64_t passes = (rows + 3) / 4;
  int64_t pass = 0;
  for (int64_t m = 0; m < rows; ++pass) {
    // Each pass fetches its share of what comes after.
    const Fetch fetch = next == nullptr ? Fetch{nullptr, 0}
                                        : Fetch{next + pass * (nextBytes / passes), nextBytes / passes / k};
    const float* from = x + m * k;
    float* to = out + m * outStride;
    switch (std::min<int64_t>(4, rows - m)) {
      case 4: dotTile<4, Outputs>(from, w, to, k, outStride, fetch); m += 4; break;
      case 3: dotTile<3, Outputs>(from, w, to, k, outStride, fetch); m += 3; break;
      case 2: dotTile<2, Outputs>(from, w, to, k, outStride, fetch); m += 2; break;
      default: dotTile<1, Outputs>(from, w, to, k, outStride, fetch); m += 1; break;
    }
  }
}

void streamFloats(const float* x, const float* w, float* out, int64_t rows, int64_t k, int64_t outputs, int64_t begin,
                  int64_t end) {
  int64_t n = begin;
  for (; n + kTile <= end; n += kTile) {
    const bool more = n + (kAhead + 1) * kTile <= end;
    const char* next = more ? reinterpret_cast<const char*>(w + (n + kAhead * kTile) * k) : nullptr;
    dotRows<kTile>(x, w + n * k, out + n, rows, k, outputs, next, kTile * k * 4);
  }
  for (; n < end; ++n) dotRows<1>(x, w + n * k, out + n, rows, k, outputs, nullptr, 0);
}

/** int8 to float32, n values. */
TESSERA_AVX2 void widen(const int8_t* from, float* to, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_ps(to + i, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
  }
  for (; i < n; ++i) to[i] = from[i];
}

void streamBytes(const float* x, const int8_t* w, const float* scales, float* out, int64_t rows, int64_t k,
                 int64_t outputs, int64_t begin, int64_t end) {
  std::vector<float> wide(static_cast<size_t>(kTile * k));
  for (int64_t n = begin; n < end; n += kTile) {
    const int64_t count = std::min(kTile, end - n);
    widen(w + n * k, wide.data(), count * k);
    if (count == kTile) {
      dotRows<kTile>(x, wide.data(), out + n, rows, k, outputs, nullptr, 0);
    } else {
      for (int64_t i = 0; i < count; ++i) dotRows<1>(x, wide.data() + i * k, out + n + i, rows, k, outputs, nullptr, 0);
    }
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t i = n; i < n + count; ++i) out[m * outputs + i] *= scales[i];
    }
  }
}
#endif

/** A weight [out, in] in float32, or in int8 with a scale an output. */
struct Weight {
  const at::Tensor& values;
  const std::optional<at::Tensor> scales;
};

#ifdef TESSERA_ROWS
/** Outputs [begin, end) of x [rows, k]; a row of `out` has `stride` entries and begins with output 0. */
void stream(const float* x, const Weight& weight, float* out, int64_t rows, int64_t stride, int64_t begin, int64_t end) {
  const int64_t k = weight.values.size(1);
  if (weight.scales.has_value()) {
    streamBytes(x, weight.values.const_data_ptr<int8_t>(), weight.scales->const_data_ptr<float>(), out, rows, k, stride,
                begin, end);
  } else {
    streamFloats(x, weight.values.const_data_ptr<float>(), out, rows, k, stride, begin, end);
  }
}

TESSERA_AVX2 inline void gateEight(float* gate, const float* up) {
  const __m256 x = _mm256_loadu_ps(gate);
  const __m256 smaller = expOf(_mm256_sub_ps(_mm256_setzero_ps(), x));
  const __m256 silu = _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1), smaller));
  _mm256_storeu_ps(gate, _mm256_mul_ps(silu, _mm256_loadu_ps(up)));
}

/** gate = silu(gate) · up, n values. The last few go the way of the others: an entry's bits do not depend on its place. */
void applyGate(float* gate, const float* up, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) gateEight(gate + i, up + i);
  if (i == n) return;
  float last[8] = {}, factors[8] = {};
  std::copy(gate + i, gate + n, last);
  std::copy(up + i, up + n, factors);
  gateEight(last, factors);
  std::copy(last, last + (n - i), gate + i);
}
#endif

/** Whether this machine and these tensors can stream. */
bool streams(const at::Tensor& x, const Weight& weight, int64_t rows) {
#ifdef TESSERA_ROWS
  const at::Tensor& values = weight.values;
  return hasAvx2() && rows >= 1 && rows <= kMostRows && x.size(-1) >= 8 && isPlain(x) && values.is_contiguous() &&
         (weight.scales.has_value() ? values.is_cpu() && weight.scales->is_cpu() : isPlain(values));
#else
  (void)x, (void)weight, (void)rows;
  return false;
#endif
}

void checkShapes(const at::Tensor& x, const Weight& weight) {
  const at::Tensor& values = weight.values;
  if (x.dim() < 1 || values.dim() != 2 || x.size(-1) != values.size(1)) {
    throw std::runtime_error("expected x [..., in] and a weight [out, in]");
  }
  if (!weight.scales.has_value()) return;
  const at::Tensor& scales = *weight.scales;
  if (values.scalar_type() != at::kChar || scales.scalar_type() != at::kFloat || scales.dim() != 1 ||
      scales.size(0) != values.size(0) || !scales.is_contiguous()) {
    throw std::runtime_error("expected an int8 weight [out, in] and float32 scales [out]");
  }
}

at::Tensor generalProduct(const at::Tensor& x, const Weight& weight) {
  if (!weight.scales.has_value()) return at::linear(x, weight.values);
  const at::ScalarType type = x.scalar_type();
  return at::linear(x, weight.values.to(type).mul(weight.scales->to(type).unsqueeze(1)));
}

int64_t rowsOf(const at::Tensor& x) { return x.size(-1) == 0 ? 0 : x.numel() / x.size(-1); }

at::Tensor emptyOutput(const at::Tensor& x, int64_t outputs) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = outputs;
  return at::empty(shape, x.options());
}

/** linearRows(x [..., in], weight [out, in], its scales [out] or nothing, summand [..., out] or nothing) → [..., out]. */
napi_value linearRows(Arguments& a) {
  const at::Tensor& x = a.tensor(0);
  const Weight weight{a.tensor(1), a.optionalTensor(2)};
  const std::optional<at::Tensor> summand = a.optionalTensor(3);
  checkShapes(x, weight);
  const int64_t rows = rowsOf(x);
  const bool adds = summand.has_value();
  const bool plain = !adds || (summand->is_cpu() && summand->scalar_type() == at::kFloat && !summand->requires_grad());
  if (!plain || !streams(x, weight, rows)) {
    const at::Tensor product = generalProduct(x, weight);
    return a.result(adds ? summand->add(product) : product);
  }
#ifdef TESSERA_ROWS
  const at::Tensor input = x.contiguous();
  const int64_t outputs = weight.values.size(0);
  at::Tensor out = emptyOutput(x, outputs);
  if (adds && summand->sizes() != out.sizes()) throw std::runtime_error("expected a summand of the output's shape");
  const at::Tensor added = adds ? summand->contiguous() : at::Tensor();
  at::parallel_for(0, outputs, kOutputsAThread, [&](int64_t begin, int64_t end) {
    float* to = out.data_ptr<float>();
    stream(input.const_data_ptr<float>(), weight, to, rows, outputs, begin, end);
    if (!adds) return;
    const float* from = added.const_data_ptr<float>();
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t i = m * outputs + begin; i < m * outputs + end; ++i) to[i] = from[i] + to[i];
    }
  });
  return a.result(out);
#endif
}

/** gatedRows(x [..., in], gate [out, in], its scales, up [out, in], its scales) → silu(x gate) · (x up), [..., out]. */
napi_value gatedRows(Arguments& a) {
  const at::Tensor& x = a.tensor(0);
  const Weight gate{a.tensor(1), a.optionalTensor(2)};
  const Weight up{a.tensor(3), a.optionalTensor(4)};
  checkShapes(x, gate);
  checkShapes(x, up);
  const int64_t outputs = gate.values.size(0);
  if (up.values.size(0) != outputs) throw std::runtime_error("expected two weights of one shape");
  const int64_t rows = rowsOf(x);
  if (!streams(x, gate, rows) || !streams(x, up, rows)) {
    return a.result(at::silu(generalProduct(x, gate)).mul(generalProduct(x, up)));
  }
#ifdef TESSERA_ROWS
  const at::Tensor input = x.contiguous();
  at::Tensor out = emptyOutput(x, outputs);
  at::Tensor factors = at::empty_like(out);
  at::parallel_for(0, outputs, kOutputsAThread, [&](int64_t begin, int64_t end) {
    float* to = out.data_ptr<float>();
    float* factor = factors.data_ptr<float>();
    stream(input.const_data_ptr<float>(), gate, to, rows, outputs, begin, end);
    stream(input.const_data_ptr<float>(), up, factor, rows, outputs, begin, end);
    for (int64_t m = 0; m < rows; ++m) {
      const int64_t from = m * outputs + begin;
      applyGate(to + from, factor + from, end - begin);
    }
  });
  return a.result(out);
#endif
}

}  // namespace

const CoreEntry kLinearRowsFunctions[] = {
    {"linearRows", linearRows},
    {"gatedRows", gatedRows},
    {nullptr, nullptr},
};

}  // namespace tessera
