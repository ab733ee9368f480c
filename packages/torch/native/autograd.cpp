// Autograd switches and gradients. torch/torch.h would double the compile time.
#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "core.h"

namespace tessera {
namespace {

/** backward(tensor, gradient?, retainGraph, createGraph, leaves?): without leaves, every leaf that wants a gradient gets one. */
napi_value backward(Arguments& a) {
  const bool createGraph = a.boolean(3);
  const bool retainGraph = a.boolean(2) || createGraph;
  const at::Tensor gradient = a.optionalTensor(1).value_or(at::Tensor());
  if (a.isNothing(4)) {
    a.tensor(0).backward(gradient, retainGraph, createGraph);
  } else {
    const std::vector<at::Tensor> leaves = a.tensors(4);
    a.tensor(0).backward(gradient, retainGraph, createGraph, at::TensorList(leaves));
  }
  return a.nothing();
}

/**
 * gradients(outputs, inputs, gradOutputs, retainGraph, createGraph): the gradients as new tensors; nothing is added to
 * `grad`. An input that the outputs do not depend on gives undefined.
 */
napi_value gradients(Arguments& a) {
  const bool createGraph = a.boolean(4);
  return a.result(torch::autograd::grad(a.tensors(0), a.tensors(1), a.tensors(2), a.boolean(3) || createGraph,
                                        createGraph, /*allow_unused=*/true));
}

/** The accumulated gradient, or undefined. */
napi_value grad(Arguments& a) { return a.result(a.tensor(0).grad()); }

napi_value clearGrad(Arguments& a) {
  a.tensor(0).mutable_grad().reset();
  return a.nothing();
}

/** setGrad(tensor, gradient): replaces the accumulated gradient. */
napi_value setGrad(Arguments& a) {
  a.tensor(0).mutable_grad() = a.tensor(1);
  return a.nothing();
}

napi_value requiresGrad(Arguments& a) { return a.result(a.tensor(0).requires_grad()); }

napi_value setRequiresGrad(Arguments& a) {
  a.tensor(0).requires_grad_(a.boolean(1));
  return a.nothing();
}

napi_value isGradEnabled(Arguments& a) { return a.result(c10::GradMode::is_enabled()); }

napi_value setGradEnabled(Arguments& a) {
  const bool enabled = a.boolean(0);
  // Autocast keeps its casts of weights for a whole block: one that was made without history must not be used with it.
  const bool casts = at::autocast::is_autocast_enabled(at::kCPU) || at::autocast::is_autocast_enabled(at::kCUDA);
  if (enabled && !c10::GradMode::is_enabled() && casts) at::autocast::clear_cache();
  c10::GradMode::set_enabled(enabled);
  return a.nothing();
}

}  // namespace

const CoreEntry kAutogradFunctions[] = {
    {"backward", backward},
    {"gradients", gradients},
    {"grad", grad},
    {"clearGrad", clearGrad},
    {"setGrad", setGrad},
    {"requiresGrad", requiresGrad},
    {"setRequiresGrad", setRequiresGrad},
    {"isGradEnabled", isGradEnabled},
    {"setGradEnabled", setGradEnabled},
    {nullptr, nullptr},
};

}  // namespace tessera
