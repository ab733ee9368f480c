// Autocast, the precision of float32 products, deterministic algorithms: switches of libtorch that hold for a thread
// (autocast) or for the process (the others). And the two operations of loss scaling, which write through references, as
// the table's operations do not.
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>

#include "core.h"

namespace tessera {
namespace {

at::DeviceType deviceType(const Arguments& a, size_t i) {
  const std::string name = a.string(i);
  if (name == "cpu") return at::kCPU;
  if (name == "cuda") return at::kCUDA;
  throw std::runtime_error("expected the device cpu or cuda, got \"" + name + "\"");
}

napi_value autocastIsEnabled(Arguments& a) { return a.result(at::autocast::is_autocast_enabled(deviceType(a, 0))); }

napi_value autocastDtype(Arguments& a) {
  return a.result(std::string(dtypeName(at::autocast::get_autocast_dtype(deviceType(a, 0)))));
}

/** autocastBegin(device, enabled, dtype) */
napi_value autocastBegin(Arguments& a) {
  const at::DeviceType device = deviceType(a, 0);
  const bool enabled = a.boolean(1);
  const at::ScalarType dtype = a.dtype(2);
  at::autocast::set_autocast_enabled(device, enabled);
  at::autocast::set_autocast_dtype(device, dtype);
  at::autocast::increment_nesting();
  return a.nothing();
}

/** autocastEnd(device, enabled before, dtype before): the outermost end drops the cast copies of the weights. */
napi_value autocastEnd(Arguments& a) {
  const at::DeviceType device = deviceType(a, 0);
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device, a.boolean(1));
  at::autocast::set_autocast_dtype(device, a.dtype(2));
  return a.nothing();
}

/** The older of two interfaces: it writes the newer one's state (fp32_precision) too, and both must agree to be read. */
napi_value setTf32(Arguments& a) {
  at::globalContext().setAllowTF32CuBLAS(a.boolean(0));
  at::globalContext().setAllowTF32CuDNN(a.boolean(0));
  return a.nothing();
}

napi_value isTf32Allowed(Arguments& a) {
  return a.result(at::globalContext().allowTF32CuBLAS() || at::globalContext().allowTF32CuDNN());
}

/** setDeterministic(flag, warnOnly): also switches cuDNN's measured choice of algorithms off. */
napi_value setDeterministic(Arguments& a) {
  at::globalContext().setDeterministicAlgorithms(a.boolean(0), a.boolean(1));
  at::globalContext().setDeterministicCuDNN(a.boolean(0));
  if (a.boolean(0)) at::globalContext().setBenchmarkCuDNN(false);
  return a.nothing();
}

napi_value isDeterministic(Arguments& a) { return a.result(at::globalContext().deterministicAlgorithms()); }

napi_value setCudnnBenchmark(Arguments& a) {
  at::globalContext().setBenchmarkCuDNN(a.boolean(0));
  return a.nothing();
}

/** scalerUnscale(gradients, foundInf, inverse of the scale): in place; foundInf becomes 1 where a gradient is not finite. */
napi_value scalerUnscale(Arguments& a) {
  const at::NoGradGuard noGrad;
  at::Tensor foundInf = a.tensor(1);
  at::_amp_foreach_non_finite_check_and_unscale_(a.tensors(0), foundInf, a.tensor(2));
  return a.nothing();
}

/** scalerUpdate(scale, growthTracker, foundInf, growthFactor, backoffFactor, growthInterval): in place. */
napi_value scalerUpdate(Arguments& a) {
  const at::NoGradGuard noGrad;
  at::Tensor scale = a.tensor(0);
  at::Tensor growthTracker = a.tensor(1);
  at::_amp_update_scale_(scale, growthTracker, a.tensor(2), a.real(3), a.real(4), a.integer(5));
  return a.nothing();
}

}  // namespace

void forbidTf32() {
  at::globalContext().setAllowTF32CuBLAS(false);
  at::globalContext().setAllowTF32CuDNN(false);
}

const CoreEntry kPrecisionFunctions[] = {
    {"autocastIsEnabled", autocastIsEnabled}, {"autocastDtype", autocastDtype},
    {"autocastBegin", autocastBegin},         {"autocastEnd", autocastEnd},
    {"setTf32", setTf32},                     {"isTf32Allowed", isTf32Allowed},
    {"setDeterministic", setDeterministic},   {"isDeterministic", isDeterministic},
    {"setCudnnBenchmark", setCudnnBenchmark}, {"scalerUnscale", scalerUnscale},
    {"scalerUpdate", scalerUpdate},           {nullptr, nullptr},
};

}  // namespace tessera
