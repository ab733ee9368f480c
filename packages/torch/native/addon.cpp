// Stand-in until the engine is here: loads libtorch and computes one sum.
#include <ATen/ATen.h>
#include <node_api.h>

static napi_value sum(napi_env env, napi_callback_info) {
  napi_value result;
  napi_create_double(env, at::ones({2}).sum().item<double>(), &result);
  return result;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "sum", NAPI_AUTO_LENGTH, sum, nullptr, &function);
  napi_set_named_property(env, exports, "sum", function);
  return exports;
}
