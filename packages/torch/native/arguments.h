// Between JavaScript values and ATen's types. Every native function is a body that takes Arguments and returns a
// JavaScript value; `trampoline` around it turns C++ exceptions into JavaScript ones, so none can end the process.
#pragma once

#include <ATen/ATen.h>
#include <node_api.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "handle_table.h"

namespace tessera {

/** What one JavaScript environment (the main thread or a worker) owns. */
struct Instance {
  HandleTable table;
  /** ArrayBuffers over tensors' memory, by the handle whose life they share (views.cpp). */
  std::unordered_map<Handle, struct MemoryView*> views;
  /** The number of threads last set on this thread; 0: libtorch's own choice. */
  int threads = 0;
  /** Process groups and what belongs to them (c10d.h), made on first use. */
  std::shared_ptr<void> distributed;
  /** Streams, events and graphs (cuda.cpp), made on first use. */
  std::shared_ptr<void> cuda;
};

/** The number of threads that setNumThreads() chose for the whole process; 0: nothing chosen yet. */
extern std::atomic<int> processThreads;

/** A JavaScript exception is already pending: unwind and let it be. */
struct PendingException {};

/** An integer list: stored here, seen by ATen as an IntArrayRef. */
struct Integers {
  c10::SmallVector<int64_t, 8> values;
  operator at::IntArrayRef() const { return {values.data(), values.size()}; }
};

/** One that may be absent, which is not the same as empty: `any` over no dimensions changes nothing. */
struct OptionalIntegers {
  std::optional<Integers> list;
  operator at::OptionalIntArrayRef() const {
    return list ? at::OptionalIntArrayRef(at::IntArrayRef(*list)) : at::OptionalIntArrayRef();
  }
};

class Arguments {
 public:
  Arguments(napi_env env, Instance& instance, const napi_value* values, size_t count)
      : env(env), instance(instance), values_(values), count_(count) {}

  const napi_env env;
  Instance& instance;

  napi_value value(size_t i) const { return i < count_ ? values_[i] : nullptr; }
  bool isNothing(size_t i) const;

  Handle handle(size_t i) const;
  const at::Tensor& tensor(size_t i) const { return instance.table.at(handle(i)); }
  /** A tensor that the operation writes to: the table's own, which is not const. */
  at::Tensor& written(size_t i) const { return const_cast<at::Tensor&>(tensor(i)); }
  std::optional<at::Tensor> optionalTensor(size_t i) const;
  std::vector<at::Tensor> tensors(size_t i) const;
  c10::List<std::optional<at::Tensor>> optionalTensors(size_t i) const;
  int64_t integer(size_t i) const;
  std::optional<int64_t> optionalInteger(size_t i) const;
  Integers integers(size_t i) const;
  OptionalIntegers optionalIntegers(size_t i) const;
  double real(size_t i) const;
  std::optional<double> optionalReal(size_t i) const;
  bool boolean(size_t i) const;
  at::Scalar scalar(size_t i) const;
  std::optional<at::Scalar> optionalScalar(size_t i) const;
  std::string string(size_t i) const;
  std::vector<std::string> strings(size_t i) const;
  at::ScalarType dtype(size_t i) const;
  std::optional<at::ScalarType> optionalDtype(size_t i) const;
  at::MemoryFormat memoryFormat(size_t i) const;
  std::optional<at::MemoryFormat> optionalMemoryFormat(size_t i) const;
  /** Two arguments: dtype (required) and device (cpu when absent). */
  at::TensorOptions options(size_t i) const;
  /** The bytes behind a typed array or an ArrayBuffer. */
  std::pair<uint8_t*, size_t> bytes(size_t i) const;
  std::vector<Handle> handles(size_t i) const;

  napi_value nothing() const;
  napi_value result(at::Tensor tensor) const;
  napi_value result(const std::vector<at::Tensor>& tensors) const;
  napi_value result(bool value) const;
  napi_value result(double value) const;
  napi_value result(int64_t value) const;
  napi_value result(const std::string& value) const;
  napi_value result(at::IntArrayRef values) const;
  template <typename... T>
  napi_value result(const std::tuple<T...>& tuple) const {
    return std::apply([this](const auto&... item) { return result(std::vector<at::Tensor>{item...}); }, tuple);
  }

 private:
  [[noreturn]] void reject(size_t i, const char* expected) const;
  at::ScalarType parseDtype(size_t i) const;

  const napi_value* values_;
  size_t count_;
};

using Body = napi_value (*)(Arguments&);

struct OperationEntry {
  int index;
  Body body;
};

/** Makes a JavaScript function of a body; without a name, of an operation of the table. */
napi_value makeFunction(napi_env env, Instance& instance, const char* name, Body body);

void check(napi_env env, napi_status status);

const char* dtypeName(at::ScalarType type);

}  // namespace tessera
