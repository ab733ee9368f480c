// Autograd switches and gradients. torch/torch.h would double the compile time.
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "core.h"

namespace tessera {
namespace {

/** backward(tensor, gradient?, leaves?): without leaves, every leaf that wants a gradient gets one. */
napi_value backward(Arguments& a) {
  const at::Tensor gradient = a.optionalTensor(1).value_or(at::Tensor());
  if (a.isNothing(2)) {
    a.tensor(0).backward(gradient);
  } else {
    const std::vector<at::Tensor> leaves = a.tensors(2);
    a.tensor(0).backward(gradient, std::nullopt, false, at::TensorList(leaves));
  }
  return a.nothing();
}

/** gradients(scalar, inputs): d scalar / d input each; the graph stays, and so does what the leaves have collected. */
napi_value gradients(Arguments& a) {
  return a.result(torch::autograd::grad({a.tensor(0)}, a.tensors(1), {}, /*retain_graph=*/true));
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
  c10::GradMode::set_enabled(a.boolean(0));
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
