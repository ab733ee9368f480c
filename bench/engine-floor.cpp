// The chains of additions of engine.mjs in libtorch alone, called from C++: what no binding can be faster than. As there,
// every result is kept until the chain ends. Prints the shortest chain of each kind in microseconds an addition.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

constexpr int kChain = 1000;
constexpr int kChains = 2000;

double shortest(const at::Tensor& first, const at::Tensor& one) {
  double best = 1e9;
  std::vector<at::Tensor> kept;
  kept.reserve(kChain);
  for (int k = 0; k < kChains; k++) {
    const auto began = std::chrono::steady_clock::now();
    at::Tensor x = first;
    for (int i = 0; i < kChain; i++) {
      x = at::add(x, one, 1);
      kept.push_back(x);
    }
    x.reset();
    // From the last to the first, so that a graph is never taken down by recursion.
    while (!kept.empty()) kept.pop_back();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - began;
    best = std::min(best, taken.count());
  }
  return best / kChain * 1e6;
}

int main() {
  at::set_num_threads(1);
  const auto one = at::ones({1});
  const auto weight = at::ones({1}).requires_grad_();
  double plain;
  {
    at::NoGradGuard guard;
    plain = shortest(one, one);
  }
  std::printf("{\"add\": %f, \"add, recorded\": %f}\n", plain, shortest(weight, one));
}
