#include "arguments.h"

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <cstring>
#include <unordered_map>

namespace tessera {
namespace {

constexpr size_t kMaxArguments = 20;
/** Enough for most calls: N-API fills what is left of the array with undefined, which costs more than a second look. */
constexpr size_t kFewArguments = 4;

/** A double that an int64 holds exactly. */
bool isSafeInteger(double number) {
  return std::abs(number) <= 9007199254740991.0 && number == static_cast<double>(static_cast<int64_t>(number));
}

struct DtypeRow {
  const char* name;
  at::ScalarType type;
};

constexpr DtypeRow kDtypes[] = {
    {"float32", at::kFloat},   {"float64", at::kDouble}, {"float16", at::kHalf},
    {"bfloat16", at::kBFloat16}, {"int64", at::kLong},   {"int32", at::kInt},
    {"int16", at::kShort},     {"int8", at::kChar},      {"uint8", at::kByte},
    {"bool", at::kBool},       {"uint16", at::kUInt16},  {"uint32", at::kUInt32},
};

struct FunctionData {
  Instance* instance;
  Body body;
};

/**
 * libtorch's number of threads belongs to the calling thread: what one thread chose is taken over here by each of them,
 * at its next call.
 */
void adoptThreads(Instance& instance) {
  const int wanted = processThreads.load(std::memory_order_relaxed);
  if (wanted == instance.threads) return;
  at::set_num_threads(wanted);
  instance.threads = wanted;
}

void throwError(napi_env env, const char* code, const char* message) { napi_throw_error(env, code, message); }

template <bool kIsOperation>
napi_value trampoline(napi_env env, napi_callback_info info) {
  napi_value values[kMaxArguments];
  size_t count = kFewArguments;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, values, nullptr, &data);
  if (count > kFewArguments) {
    count = kMaxArguments;
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  }
  auto& function = *static_cast<FunctionData*>(data);
  Arguments arguments(env, *function.instance, values, std::min(count, kMaxArguments));
  try {
    adoptThreads(*function.instance);
    if constexpr (kIsOperation) {
      if (!c10::GradMode::is_enabled()) {
        // Nothing is recorded: the kernels that would find that out anew for every operation are passed over.
        const at::AutoDispatchBelowAutograd belowAutograd;
        return function.body(arguments);
      }
    }
    return function.body(arguments);
  } catch (const PendingException&) {
  } catch (const DisposedTensor& error) {
    throwError(env, "DISPOSED", error.what());
  } catch (const c10::Error& error) {
    throwError(env, "TORCH", error.what_without_backtrace());
  } catch (const std::exception& error) {
    throwError(env, "TORCH", error.what());
  } catch (...) {
    throwError(env, "TORCH", "an unknown C++ exception");
  }
  return nullptr;
}

}  // namespace

std::atomic<int> processThreads{0};

void check(napi_env env, napi_status status) {
  if (status == napi_ok) return;
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) throw PendingException();
  const napi_extended_error_info* info = nullptr;
  napi_get_last_error_info(env, &info);
  throw std::runtime_error(info != nullptr && info->error_message != nullptr ? info->error_message : "N-API error");
}

const char* dtypeName(at::ScalarType type) {
  for (const auto& row : kDtypes) {
    if (row.type == type) return row.name;
  }
  return c10::toString(type);
}

napi_value makeFunction(napi_env env, Instance& instance, const char* name, Body body) {
  const bool isOperation = name == nullptr;
  napi_value function;
  auto* data = new FunctionData{&instance, body};
  check(env, napi_create_function(env, isOperation ? "operation" : name, NAPI_AUTO_LENGTH,
                                  isOperation ? trampoline<true> : trampoline<false>, data, &function));
  check(env, napi_add_finalizer(env, function, data, [](napi_env, void* p, void*) { delete static_cast<FunctionData*>(p); },
                                nullptr, nullptr));
  return function;
}

void Arguments::reject(size_t i, const char* expected) const {
  std::string got = "nothing";
  if (!isNothing(i)) {
    napi_valuetype type;
    napi_typeof(env, values_[i], &type);
    switch (type) {
      case napi_number: got = "a number"; break;
      case napi_string: got = "a string"; break;
      case napi_boolean: got = "a boolean"; break;
      case napi_function: got = "a function"; break;
      case napi_bigint: got = "a bigint"; break;
      default: got = "an object";
    }
    double number;
    if (type == napi_number && napi_get_value_double(env, values_[i], &number) == napi_ok) {
      got = std::isfinite(number) && number == std::floor(number) ? std::to_string(static_cast<int64_t>(number))
                                                                  : std::to_string(number);
    }
  }
  throw std::runtime_error("argument " + std::to_string(i) + ": expected " + expected + ", got " + got);
}

bool Arguments::isNothing(size_t i) const {
  if (i >= count_) return true;
  napi_valuetype type;
  napi_typeof(env, values_[i], &type);
  return type == napi_undefined || type == napi_null;
}

Handle Arguments::handle(size_t i) const {
  double number;
  if (i >= count_ || napi_get_value_double(env, values_[i], &number) != napi_ok || !isSafeInteger(number)) {
    reject(i, "a tensor");
  }
  return static_cast<Handle>(number);
}

std::optional<at::Tensor> Arguments::optionalTensor(size_t i) const {
  if (isNothing(i)) return std::nullopt;
  return tensor(i);
}

std::vector<Handle> Arguments::handles(size_t i) const {
  uint32_t length = 0;
  if (i >= count_ || napi_get_array_length(env, values_[i], &length) != napi_ok) reject(i, "an array of tensors");
  std::vector<Handle> list(length);
  for (uint32_t k = 0; k < length; ++k) {
    napi_value item;
    double number;
    check(env, napi_get_element(env, values_[i], k, &item));
    if (napi_get_value_double(env, item, &number) != napi_ok || !isSafeInteger(number)) {
      reject(i, "an array of tensors");
    }
    list[k] = static_cast<Handle>(number);
  }
  return list;
}

std::vector<at::Tensor> Arguments::tensors(size_t i) const {
  std::vector<at::Tensor> list;
  for (const Handle item : handles(i)) list.push_back(instance.table.at(item));
  return list;
}

c10::List<std::optional<at::Tensor>> Arguments::optionalTensors(size_t i) const {
  uint32_t length = 0;
  if (i >= count_ || napi_get_array_length(env, values_[i], &length) != napi_ok) reject(i, "an array of tensors");
  c10::List<std::optional<at::Tensor>> list;
  for (uint32_t k = 0; k < length; ++k) {
    napi_value item;
    double number;
    check(env, napi_get_element(env, values_[i], k, &item));
    if (napi_get_value_double(env, item, &number) == napi_ok) {
      list.push_back(instance.table.at(static_cast<Handle>(number)));
    } else {
      list.push_back(std::nullopt);
    }
  }
  return list;
}

int64_t Arguments::integer(size_t i) const {
  double number;
  if (i >= count_ || napi_get_value_double(env, values_[i], &number) != napi_ok || !isSafeInteger(number)) {
    reject(i, "an integer");
  }
  return static_cast<int64_t>(number);
}

std::optional<int64_t> Arguments::optionalInteger(size_t i) const {
  if (isNothing(i)) return std::nullopt;
  return integer(i);
}

Integers Arguments::integers(size_t i) const {
  Integers list;
  if (isNothing(i)) return list;
  uint32_t length = 0;
  if (napi_get_array_length(env, values_[i], &length) != napi_ok) reject(i, "an array of integers");
  list.values.resize(length);
  for (uint32_t k = 0; k < length; ++k) {
    napi_value item;
    double number;
    check(env, napi_get_element(env, values_[i], k, &item));
    if (napi_get_value_double(env, item, &number) != napi_ok || !isSafeInteger(number)) {
      reject(i, "an array of integers");
    }
    list.values[k] = static_cast<int64_t>(number);
  }
  return list;
}

OptionalIntegers Arguments::optionalIntegers(size_t i) const {
  if (isNothing(i)) return {};
  return {integers(i)};
}

double Arguments::real(size_t i) const {
  double number;
  if (i >= count_ || napi_get_value_double(env, values_[i], &number) != napi_ok) reject(i, "a number");
  return number;
}

std::optional<double> Arguments::optionalReal(size_t i) const {
  if (isNothing(i)) return std::nullopt;
  return real(i);
}

bool Arguments::boolean(size_t i) const {
  bool flag;
  if (i >= count_ || napi_get_value_bool(env, values_[i], &flag) != napi_ok) reject(i, "a boolean");
  return flag;
}

at::Scalar Arguments::scalar(size_t i) const {
  double number;
  if (i < count_ && napi_get_value_double(env, values_[i], &number) == napi_ok) {
    // Whole numbers stay integers, so that adding 1 to an int64 tensor keeps its dtype.
    if (isSafeInteger(number)) {
      return at::Scalar(static_cast<int64_t>(number));
    }
    return at::Scalar(number);
  }
  bool flag;
  if (i < count_ && napi_get_value_bool(env, values_[i], &flag) == napi_ok) return at::Scalar(flag);
  reject(i, "a number");
}

std::optional<at::Scalar> Arguments::optionalScalar(size_t i) const {
  if (isNothing(i)) return std::nullopt;
  return scalar(i);
}

std::string Arguments::string(size_t i) const {
  size_t length = 0;
  if (i >= count_ || napi_get_value_string_utf8(env, values_[i], nullptr, 0, &length) != napi_ok) reject(i, "a string");
  std::string text(length, '\0');
  check(env, napi_get_value_string_utf8(env, values_[i], text.data(), length + 1, &length));
  return text;
}

std::vector<std::string> Arguments::strings(size_t i) const {
  uint32_t length = 0;
  if (i >= count_ || napi_get_array_length(env, values_[i], &length) != napi_ok) reject(i, "an array of strings");
  std::vector<std::string> list;
  for (uint32_t k = 0; k < length; ++k) {
    napi_value item;
    check(env, napi_get_element(env, values_[i], k, &item));
    list.push_back(Arguments(env, instance, &item, 1).string(0));
  }
  return list;
}

at::ScalarType Arguments::dtype(size_t i) const {
  const std::string name = string(i);
  for (const auto& row : kDtypes) {
    if (name == row.name) return row.type;
  }
  throw std::runtime_error("unknown dtype \"" + name + "\"");
}

std::optional<at::ScalarType> Arguments::optionalDtype(size_t i) const {
  if (isNothing(i)) return std::nullopt;
  return dtype(i);
}

at::MemoryFormat Arguments::memoryFormat(size_t i) const {
  const std::string name = string(i);
  if (name == "contiguous_format") return at::MemoryFormat::Contiguous;
  if (name == "channels_last") return at::MemoryFormat::ChannelsLast;
  if (name == "channels_last_3d") return at::MemoryFormat::ChannelsLast3d;
  if (name == "preserve_format") return at::MemoryFormat::Preserve;
  throw std::runtime_error("unknown memory format \"" + name + "\"");
}

std::optional<at::MemoryFormat> Arguments::optionalMemoryFormat(size_t i) const {
  if (isNothing(i)) return std::nullopt;
  return memoryFormat(i);
}

at::TensorOptions Arguments::options(size_t i) const {
  at::TensorOptions options = at::TensorOptions().dtype(dtype(i));
  return isNothing(i + 1) ? options : options.device(at::Device(string(i + 1)));
}

std::pair<uint8_t*, size_t> Arguments::bytes(size_t i) const {
  void* data = nullptr;
  size_t length = 0;
  bool is = false;
  if (i < count_ && napi_is_typedarray(env, values_[i], &is) == napi_ok && is) {
    napi_typedarray_type type;
    size_t elements = 0;
    check(env, napi_get_typedarray_info(env, values_[i], &type, &elements, &data, nullptr, nullptr));
    static const std::unordered_map<int, size_t> kWidth = {
        {napi_int8_array, 1},   {napi_uint8_array, 1},   {napi_uint8_clamped_array, 1}, {napi_int16_array, 2},
        {napi_uint16_array, 2}, {napi_int32_array, 4},   {napi_uint32_array, 4},        {napi_float32_array, 4},
        {napi_float64_array, 8}, {napi_bigint64_array, 8}, {napi_biguint64_array, 8}};
    const auto width = kWidth.find(type);
    if (width == kWidth.end()) reject(i, "a typed array of 8, 16, 32 or 64 bits");
    return {static_cast<uint8_t*>(data), elements * width->second};
  }
  if (i < count_ && napi_is_arraybuffer(env, values_[i], &is) == napi_ok && is) {
    check(env, napi_get_arraybuffer_info(env, values_[i], &data, &length));
    return {static_cast<uint8_t*>(data), length};
  }
  reject(i, "a typed array");
}

napi_value Arguments::nothing() const {
  napi_value value;
  check(env, napi_get_undefined(env, &value));
  return value;
}

napi_value Arguments::result(at::Tensor tensor) const {
  if (!tensor.defined()) return nothing();
  napi_value value;
  check(env, napi_create_double(env, static_cast<double>(instance.table.add(std::move(tensor))), &value));
  return value;
}

napi_value Arguments::result(const std::vector<at::Tensor>& tensors) const {
  napi_value array;
  check(env, napi_create_array_with_length(env, tensors.size(), &array));
  for (size_t k = 0; k < tensors.size(); ++k) {
    check(env, napi_set_element(env, array, static_cast<uint32_t>(k), result(tensors[k])));
  }
  return array;
}

napi_value Arguments::result(bool flag) const {
  napi_value value;
  check(env, napi_get_boolean(env, flag, &value));
  return value;
}

napi_value Arguments::result(double number) const {
  napi_value value;
  check(env, napi_create_double(env, number, &value));
  return value;
}

napi_value Arguments::result(int64_t number) const { return result(static_cast<double>(number)); }

napi_value Arguments::result(const std::string& text) const {
  napi_value value;
  check(env, napi_create_string_utf8(env, text.data(), text.size(), &value));
  return value;
}

napi_value Arguments::result(at::IntArrayRef values) const {
  napi_value array;
  check(env, napi_create_array_with_length(env, values.size(), &array));
  for (size_t k = 0; k < values.size(); ++k) {
    check(env, napi_set_element(env, array, static_cast<uint32_t>(k), result(values[k])));
  }
  return array;
}

}  // namespace tessera
