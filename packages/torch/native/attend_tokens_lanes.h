// The kernel of attend_tokens.cpp, included there once for each number of lanes; no guard.

/** Queries that use a panel while it is in the nearest cache, with their scores. */
constexpr int64_t kGroup = 2 * kTileRows;

/** Columns of the panel that begins at `first`: kPanel, or half of it where no more are left. */
inline int64_t panelWidth(int64_t first, int64_t count) { return count - first > kLanes ? kPanel : kLanes; }

inline int64_t paddedToPanels(int64_t count) {
  const int64_t last = (count - 1) / kPanel * kPanel;
  return last + panelWidth(last, count);
}

/** rows [count, depth] as panels [depth][kPanel or half] of their transpose, zeros after the last. */
TESSERA_VECTOR void packTransposed(HeadRows rows, int64_t count, int64_t depth, float* panels) {
  for (int64_t first = 0; first < count; first += kPanel) {
    const int64_t width = panelWidth(first, count);
    float* panel = panels + first * depth;
    for (int64_t i = 0; i < width; i += 8) {
      const float* row = rows.first + (first + i) * rows.stride;
      const int64_t real = std::clamp<int64_t>(count - first - i, 0, 8);
      int64_t k = 0;
      if (real == 8) {
        for (; k + 8 <= depth; k += 8) transposeEight(row + k, rows.stride, panel + k * width + i, width);
      }
      for (; k < depth; k += 8) {
        transposeUpToEight(row + k, rows.stride, real, std::min<int64_t>(8, depth - k), panel + k * width + i, width);
      }
    }
  }
}

/** rows [depth, count] as panels [depth][kPanel or half] of neighbouring columns, zeros after the last. */
TESSERA_VECTOR void packColumns(HeadRows rows, int64_t depth, int64_t count, float* panels) {
  for (int64_t first = 0; first < paddedToPanels(count); first += kLanes) {
    const int64_t begin = first / kPanel * kPanel;
    const int64_t width = panelWidth(begin, count);
    const int64_t real = std::clamp<int64_t>(count - first, 0, kLanes);
    const float* row = rows.first + first;
    float* to = panels + begin * depth + (first - begin);
    for (int64_t k = 0; k < depth; ++k, row += rows.stride, to += width) {
      store(to, real == kLanes ? load(row) : loadFirst(row, real));
    }
  }
}

/** Row r of `to` gets sums[r] · factors[r], its first `real` columns, for the first `count` rows. */
template <int Vectors>
TESSERA_VECTOR inline void storeTile(const Vector (&sums)[kTileRows][Vectors], const float* factors, int64_t count,
                                     float* to, int64_t stride, int64_t real) {
#pragma GCC unroll 12
  for (int r = 0; r < kTileRows; ++r) {
    if (r >= count) break;
    const Vector factor = all(factors[r]);
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      const int64_t left = real - kLanes * v;
      float* at = to + r * stride + kLanes * v;
      if (left >= kLanes) {
        store(at, multiply(sums[r][v], factor));
      } else if (left > 0) {
        storeFirst(at, multiply(sums[r][v], factor), left);
      }
    }
  }
}

/** `count` rows, or as many as a tile has; of the last ones no more than a third of a tile is for nothing. */
template <int Vectors>
TESSERA_VECTOR inline void multiplyRows(const float* const* rows, int64_t count, int64_t depth, const float* panel,
                                        const float* factors, float* to, int64_t stride, int64_t real) {
  Vector sums[kTileRows][Vectors];
  if (count > 2 * kTileRows / 3) {
    multiplyTile<Vectors>(rows, depth, panel, sums);
  } else if (count > kTileRows / 3) {
    multiplyTile<Vectors, 2 * kTileRows / 3>(rows, depth, panel, sums);
  } else {
    multiplyTile<Vectors, kTileRows / 3>(rows, depth, panel, sums);
  }
  storeTile<Vectors>(sums, factors, count, to, stride, real);
}

/** to [count, width] = diag(factors) · rows [count, depth] · panels, for up to kGroup rows; `room` columns may be written. */
TESSERA_VECTOR void multiplyGroup(HeadRows rows, int64_t count, int64_t depth, const float* panels, int64_t width,
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
        multiplyRows<2>(tile, count - row, depth, panel, factors + row, at, stride, real);
      } else {
        multiplyRows<1>(tile, count - row, depth, panel, factors + row, at, stride, real);
      }
    }
  }
}

/** scores [padded] to e^(score − largest), zeros after the first `count`; returns 1 / their sum. */
TESSERA_VECTOR float softmaxRow(float* scores, int64_t count, int64_t padded) {
  std::fill(scores + count, scores + padded, -INFINITY);
  Vector tops = load(scores);
  for (int64_t s = kLanes; s < padded; s += kLanes) tops = larger(tops, load(scores + s));
  float lanes[kLanes];
  store(lanes, tops);
  const Vector largest = all(*std::max_element(lanes, lanes + kLanes));
  Vector totals = all(0);
  for (int64_t s = 0; s < padded; s += kLanes) {
    const Vector weights = expOf(subtract(load(scores + s), largest));
    totals = add(totals, weights);
    store(scores + s, weights);
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
TESSERA_VECTOR void attendHead(HeadRows queries, HeadRows keys, HeadRows values, int64_t numQueries, int64_t numKeys,
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

/** Heads from `begin` to `end`, counted through all samples. */
void attendHeads(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, int64_t numHeads,
                 at::Tensor& out, int64_t begin, int64_t end) {
  const int64_t numQueries = queries.size(1), numKeys = keys.size(1), width = queries.size(2) / numHeads;
  const auto head = [&](const at::Tensor& x, int64_t i) {
    return HeadRows{x.const_data_ptr<float>() + i / numHeads * x.stride(0) + i % numHeads * width, x.stride(1)};
  };
  float* const to = out.data_ptr<float>();
  Workspace room(numKeys, width);
  for (int64_t i = begin; i < end; ++i) {
    attendHead(head(queries, i), head(keys, i), head(values, i), numQueries, numKeys, width,
               to + i / numHeads * out.stride(0) + i % numHeads * width, out.stride(1), room);
  }
}
