// What kernels of any number of lanes share. Included by lanes.h in both namespaces; no guard.

/** e^x within 2 units in the last place (the polynomial of Cephes' expf); 0 below -87.3, NaN of NaN. */
TESSERA_VECTOR inline Vector expOf(Vector x) {
  const Vector lowest = all(-87.33654f);
  const Vector within = larger(lowest, smaller(all(88.3762589f), x));  // NaN stays
  const Vector n = nearest(multiply(within, all(1.44269504088896341f)));
  Vector r = subtractProduct(n, all(0.693359375f), within);
  r = subtractProduct(n, all(-2.12194440e-4f), r);
  Vector p = all(1.9875691500e-4f);
#pragma GCC unroll 5
  for (const float next : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) {
    p = multiplyAdd(p, r, all(next));
  }
  p = multiplyAdd(p, multiply(r, r), add(r, all(1)));
  return zeroBelow(lowest, x, multiply(p, powerOfTwo(n)));
}

/** Columns of a panel: what a tile reads of the other side in one step. */
constexpr int64_t kPanel = 2 * kLanes;

/** sums = rows [Rows, depth] · panel [depth, kLanes · Vectors]. */
template <int Vectors, int Rows = kTileRows>
TESSERA_VECTOR inline void multiplyTile(const float* const* rows, int64_t depth, const float* panel,
                                        Vector (&sums)[kTileRows][Vectors]) {
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) sums[r][v] = all(0);
  }
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    Vector columns[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) columns[v] = load(panel + (k * Vectors + v) * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
      const Vector factor = all(rows[r][k]);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sums[r][v] = multiplyAdd(factor, columns[v], sums[r][v]);
    }
  }
}
