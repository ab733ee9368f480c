// Attention of many tokens to many, as the blocks of AutoNAT and ENAT have it: two products a head with a softmax between them,
// on tiles whose sums stay in registers. Keys and values are first laid out so that a tile reads them in order; scores of a few
// queries to all keys stay in the nearest cache. Heads are read from and written to the rows of the projections as they are. A
// query's result is the same bits whatever the other queries. Where this does not reach, and on processors with wider vectors,
// nothing is returned and the caller takes libtorch's attention.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core.h"
#include "tiles_vector.h"

namespace tessera {
namespace {

#ifdef TESSERA_ROWS

/** Queries that use a panel while it is in the nearest cache, with their scores. */
constexpr int64_t kGroup = 2 * kTileRows;

/** Columns of the panel that begins at `first`: 16, or 8 where no more are left. */
int64_t panelWidth(int64_t first, int64_t count) { return count - first > 8 ? kPanel : 8; }

int64_t paddedToPanels(int64_t count) {
  const int64_t last = (count - 1) / kPanel * kPanel;
  return last + panelWidth(last, count);
}

/** Rows of one head, each dense, `stride` apart. */
struct HeadRows {
  const float* first;
  int64_t stride;
};

/** rows [count, depth] as panels [depth][16 or 8] of their transpose, zeros after the last. */
TESSERA_AVX2 void packTransposed(HeadRows rows, int64_t count, int64_t depth, float* panels) {
  for (int64_t first = 0; first < count; first += kPanel) {
    const int64_t width = panelWidth(first, count);
    float* panel = panels + first * depth;
    for (int64_t i = 0; i < width; i += 8) {
      const float* row = rows.first + (first + i) * rows.stride;
      int64_t k = 0;
      if (first + i + 8 <= count) {
        for (; k + 8 <= depth; k += 8) transposeEight(row + k, rows.stride, panel + k * width + i, width);
      }
      for (; k < depth; ++k) {
        for (int64_t j = 0; j < 8; ++j) {
          panel[k * width + i + j] = first + i + j < count ? row[j * rows.stride + k] : 0;
        }
      }
    }
  }
}

/** rows [depth, count] as panels [depth][16 or 8] of neighbouring columns, zeros after the last. */
TESSERA_AVX2 void packColumns(HeadRows rows, int64_t depth, int64_t count, float* panels) {
  for (int64_t first = 0; first < count; first += 8) {
    const int64_t begin = first / kPanel * kPanel;
    const int64_t width = panelWidth(begin, count);
    const int64_t real = std::min<int64_t>(8, count - first);
    const float* row = rows.first + first;
    float* to = panels + begin * depth + (first - begin);
    for (int64_t k = 0; k < depth; ++k, row += rows.stride, to += width) {
      if (real == 8) {
        _mm256_storeu_ps(to, _mm256_loadu_ps(row));
      } else {
        for (int64_t i = 0; i < 8; ++i) to[i] = i < real ? row[i] : 0;
      }
    }
  }
}

/** Row r of `to` gets sums[r] · factors[r], its first `real` columns, for the first `count` rows. */
template <int Vectors>
TESSERA_AVX2 inline void storeTile(const __m256 (&sums)[kTileRows][Vectors], const float* factors, int64_t count,
                                   float* to, int64_t stride, int64_t real) {
  float lanes[8 * Vectors];
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
    if (r >= count) break;
    const __m256 factor = _mm256_set1_ps(factors[r]);
    float* row = real == 8 * Vectors ? to + r * stride : lanes;
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) _mm256_storeu_ps(row + 8 * v, _mm256_mul_ps(sums[r][v], factor));
    if (row == lanes) std::copy(lanes, lanes + real, to + r * stride);
  }
}

/** to [count, width] = diag(factors) · rows [count, depth] · panels, for up to kGroup rows; `room` columns may be written. */
TESSERA_AVX2 void multiplyGroup(HeadRows rows, int64_t count, int64_t depth, const float* panels, int64_t width,
                                const float* factors, float* to, int64_t stride, int64_t room) {
  for (int64_t first = 0; first < width; first += kPanel) {
    const int64_t columns = panelWidth(first, width);
    const int64_t real = std::min(columns, room - first);
    const float* panel = panels + first * depth;
    for (int64_t row = 0; row < count; row += kTileRows) {
      const float* tile[kTileRows];
      for (int r = 0; r < kTileRows; ++r) tile[r] = rows.first + std::min(row + r, count - 1) * rows.stride;
      float* at = to + row * stride + first;
      if (columns == kPanel) {
        __m256 sums[kTileRows][2];
        multiplyTile<2>(tile, depth, panel, sums);
        storeTile<2>(sums, factors + row, count - row, at, stride, real);
      } else {
        __m256 sums[kTileRows][1];
        multiplyTile<1>(tile, depth, panel, sums);
        storeTile<1>(sums, factors + row, count - row, at, stride, real);
      }
    }
  }
}

/** scores [padded] to e^(score − largest), zeros after the first `count`; returns 1 / their sum. */
TESSERA_AVX2 float softmaxRow(float* scores, int64_t count, int64_t padded) {
  std::fill(scores + count, scores + padded, -INFINITY);
  __m256 tops = _mm256_loadu_ps(scores);
  for (int64_t s = 8; s < padded; s += 8) tops = _mm256_max_ps(tops, _mm256_loadu_ps(scores + s));
  float lanes[8];
  _mm256_storeu_ps(lanes, tops);
  const __m256 largest = _mm256_set1_ps(*std::max_element(lanes, lanes + 8));
  __m256 totals = _mm256_setzero_ps();
  for (int64_t s = 0; s < padded; s += 8) {
    const __m256 weights = expOf(_mm256_sub_ps(_mm256_loadu_ps(scores + s), largest));
    totals = _mm256_add_ps(totals, weights);
    _mm256_storeu_ps(scores + s, weights);
  }
  return 1 / sumOf(totals);
}

/** Room for one head at a time. */
struct Workspace {
  std::vector<float> keys, values, scores;

  Workspace(int64_t numKeys, int64_t width)
      : keys(static_cast<size_t>(paddedToPanels(numKeys) * width)),
        values(static_cast<size_t>(numKeys * paddedToPanels(width))),
        scores(static_cast<size_t>(kGroup * paddedToPanels(numKeys))) {}
};

/** out [numQueries, width] of one head. */
TESSERA_AVX2 void attendHead(HeadRows queries, HeadRows keys, HeadRows values, int64_t numQueries, int64_t numKeys,
                             int64_t width, float* out, int64_t outStride, Workspace& room) {
  packTransposed(keys, numKeys, width, room.keys.data());
  packColumns(values, numKeys, width, room.values.data());
  const int64_t padded = paddedToPanels(numKeys);
  float factors[kGroup];
  for (int64_t first = 0; first < numQueries; first += kGroup) {
    const int64_t count = std::min(kGroup, numQueries - first);
    std::fill(factors, factors + count, 1 / std::sqrt(static_cast<float>(width)));
    const HeadRows group{queries.first + first * queries.stride, queries.stride};
    multiplyGroup(group, count, width, room.keys.data(), numKeys, factors, room.scores.data(), padded, padded);
    for (int64_t i = 0; i < count; ++i) factors[i] = softmaxRow(room.scores.data() + i * padded, numKeys, padded);
    multiplyGroup({room.scores.data(), padded}, count, numKeys, room.values.data(), width, factors,
                  out + first * outStride, outStride, width);
  }
}

/** [B, N, D], each row dense. */
bool isOfRows(const at::Tensor& x) { return isPlain(x) && x.stride(2) == 1 && x.numel() > 0; }

#endif

/**
 * attendTokens(queries [B, N, H·K], keys and values [B, S, H·K], H) → [B, N, H·K]: softmax(q k / sqrt(K)) v in each head, or
 * nothing.
 */
napi_value attendTokens(Arguments& a) {
  const at::Tensor& queries = a.tensor(0);
  const at::Tensor& keys = a.tensor(1);
  const at::Tensor& values = a.tensor(2);
  const int64_t heads = a.integer(3);
  if (queries.dim() != 3 || keys.dim() != 3 || keys.sizes() != values.sizes() || queries.size(0) != keys.size(0) ||
      queries.size(2) != keys.size(2) || heads < 1 || queries.size(2) % heads != 0) {
    throw std::runtime_error("expected queries [B, N, H·K] with keys and values [B, S, H·K]");
  }
#ifdef TESSERA_ROWS
  if (multipliesTiles() && isOfRows(queries) && isOfRows(keys) && isOfRows(values)) {
    const int64_t numQueries = queries.size(1), numKeys = keys.size(1), width = queries.size(2) / heads;
    at::Tensor out = at::empty(queries.sizes(), queries.options());
    const auto head = [&](const at::Tensor& x, int64_t i) {
      return HeadRows{x.const_data_ptr<float>() + i / heads * x.stride(0) + i % heads * width, x.stride(1)};
    };
    float* to = out.data_ptr<float>();
    at::parallel_for(0, queries.size(0) * heads, 1, [&](int64_t begin, int64_t end) {
      Workspace room(numKeys, width);
      for (int64_t i = begin; i < end; ++i) {
        attendHead(head(queries, i), head(keys, i), head(values, i), numQueries, numKeys, width,
                   to + i / heads * out.stride(0) + i % heads * width, out.stride(1), room);
      }
    });
    return a.result(out);
  }
#endif
  return a.nothing();
}

}  // namespace

const CoreEntry kAttendTokensFunctions[] = {
    {"attendTokens", attendTokens},
    {nullptr, nullptr},
};

}  // namespace tessera
