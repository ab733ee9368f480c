#include "noise_cuda.h"

#include <stdexcept>

#ifdef TESSERA_NOISE_KERNEL
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "noise_kernels.h"
#endif

namespace tessera {

#ifdef TESSERA_NOISE_KERNEL

const bool kHasNoiseKernel = true;

void exponentialOnCuda(const at::Tensor& images, const at::Tensor& positions, const at::Tensor& out,
                       const NoiseAddress& where) {
  const c10::cuda::CUDAGuard guard(out.device());
  C10_CUDA_CHECK(static_cast<cudaError_t>(launchExponential(
      images.data_ptr<int64_t>(), positions.data_ptr<int64_t>(), out.data_ptr<float>(), out.size(0), out.size(1),
      out.size(2), where, c10::cuda::getCurrentCUDAStream().stream())));
}

void gumbelOnCuda(const at::Tensor& images, const at::Tensor& out, const NoiseAddress& where) {
  const c10::cuda::CUDAGuard guard(out.device());
  C10_CUDA_CHECK(static_cast<cudaError_t>(launchGumbel(images.data_ptr<int64_t>(), out.data_ptr<double>(), out.size(0),
                                                       out.size(1), where,
                                                       c10::cuda::getCurrentCUDAStream().stream())));
}

#else

const bool kHasNoiseKernel = false;

void exponentialOnCuda(const at::Tensor&, const at::Tensor&, const at::Tensor&, const NoiseAddress&) {
  throw std::runtime_error("this addon was built without the noise kernel");
}

void gumbelOnCuda(const at::Tensor&, const at::Tensor&, const NoiseAddress&) {
  throw std::runtime_error("this addon was built without the noise kernel");
}

#endif

}  // namespace tessera
