// Tensors in and out of JavaScript: bytes, files, shapes, scopes.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "core.h"

namespace tessera {
namespace {

size_t checkedBytes(const Integers& shape, at::ScalarType type) {
  uint64_t count = 1;
  for (const int64_t side : shape.values) {
    if (side < 0) throw std::runtime_error("a negative size in the shape");
    if (side != 0 && count > (uint64_t{1} << 48) / static_cast<uint64_t>(side)) {
      throw std::runtime_error("the shape has more than 2^48 entries");
    }
    count *= static_cast<uint64_t>(side);
  }
  return count * c10::elementSize(type);
}

/** fromBytes(data, shape, dtype): a CPU tensor that copies the bytes. */
napi_value fromBytes(Arguments& a) {
  const auto [data, length] = a.bytes(0);
  const Integers shape = a.integers(1);
  const at::ScalarType type = a.dtype(2);
  const size_t wanted = checkedBytes(shape, type);
  if (wanted != length) {
    throw std::runtime_error("the shape needs " + std::to_string(wanted) + " bytes, the data has " +
                             std::to_string(length));
  }
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(type));
  if (length > 0) std::memcpy(tensor.data_ptr(), data, length);
  return a.result(tensor);
}

/** A private mapping of a whole file, alive as long as a tensor in it. */
class Mapping {
 public:
  Mapping(void* base, size_t length) : base_(base), length_(length) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { munmap(base_, length_); }

 private:
  void* base_;
  size_t length_;
};

/** mapFile(path, [[offset, shape, dtype], …] flattened as three arrays): tensors over one private mapping. */
napi_value mapFile(Arguments& a) {
  const std::string path = a.string(0);
  const Integers offsets = a.integers(1);
  uint32_t count = 0;
  check(a.env, napi_get_array_length(a.env, a.value(2), &count));
  if (count != offsets.values.size()) throw std::runtime_error("mapFile: offsets and shapes differ in number");

  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw std::runtime_error("cannot open " + path + ": " + std::strerror(errno));
  struct stat status {};
  const bool known = fstat(file, &status) == 0;
  const auto length = static_cast<size_t>(status.st_size);
  void* base = known && length > 0 ? mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0) : MAP_FAILED;
  close(file);
  if (base == MAP_FAILED) throw std::runtime_error("cannot map " + path);
  const auto mapping = std::make_shared<Mapping>(base, length);

  std::vector<at::Tensor> tensors;
  for (uint32_t k = 0; k < count; ++k) {
    napi_value pair[2];
    napi_value row;
    check(a.env, napi_get_element(a.env, a.value(2), k, &row));
    check(a.env, napi_get_element(a.env, row, 0, &pair[0]));
    check(a.env, napi_get_element(a.env, row, 1, &pair[1]));
    const Arguments inner(a.env, a.instance, pair, 2);
    const Integers shape = inner.integers(0);
    const at::ScalarType type = inner.dtype(1);
    const size_t bytes = checkedBytes(shape, type);
    const auto offset = static_cast<uint64_t>(offsets.values[k]);
    if (offsets.values[k] < 0 || offset > length || bytes > length - offset) {
      throw std::runtime_error("tensor " + std::to_string(k) + " lies outside " + path);
    }
    char* start = static_cast<char*>(base) + offset;
    if (reinterpret_cast<uintptr_t>(start) % c10::elementSize(type) != 0) {
      at::Tensor copy = at::empty(shape, at::TensorOptions().dtype(type));
      if (bytes > 0) std::memcpy(copy.data_ptr(), start, bytes);
      tensors.push_back(copy);
    } else {
      tensors.push_back(at::from_blob(start, shape, [mapping](void*) {}, at::TensorOptions().dtype(type)));
    }
  }
  return a.result(tensors);
}

/** toBytes(tensor): an ArrayBuffer with the values in C order. */
napi_value toBytes(Arguments& a) {
  const at::Tensor tensor = a.tensor(0).detach().cpu().contiguous();
  void* data = nullptr;
  napi_value buffer;
  check(a.env, napi_create_arraybuffer(a.env, tensor.nbytes(), &data, &buffer));
  if (tensor.nbytes() > 0) std::memcpy(data, tensor.data_ptr(), tensor.nbytes());
  return buffer;
}

napi_value item(Arguments& a) {
  const at::Tensor& tensor = a.tensor(0);
  if (tensor.numel() != 1) {
    throw std::runtime_error("item() needs a tensor of one entry, got " + std::to_string(tensor.numel()));
  }
  return a.result(tensor.item().toDouble());
}

napi_value shape(Arguments& a) { return a.result(a.tensor(0).sizes()); }
napi_value dtype(Arguments& a) { return a.result(std::string(dtypeName(a.tensor(0).scalar_type()))); }
napi_value device(Arguments& a) { return a.result(a.tensor(0).device().str()); }
napi_value strides(Arguments& a) { return a.result(a.tensor(0).strides()); }
napi_value isContiguous(Arguments& a) { return a.result(a.tensor(0).is_contiguous(a.memoryFormat(1))); }
napi_value nbytes(Arguments& a) { return a.result(static_cast<int64_t>(a.tensor(0).nbytes())); }
napi_value numel(Arguments& a) { return a.result(a.tensor(0).numel()); }
napi_value isLive(Arguments& a) { return a.result(a.instance.table.isLive(a.handle(0))); }

napi_value toDevice(Arguments& a) { return a.result(a.tensor(0).to(at::Device(a.string(1)))); }

napi_value dispose(Arguments& a) {
  a.instance.table.dispose(a.handle(0));
  endStaleViews(a);
  return a.nothing();
}

napi_value beginScope(Arguments& a) { return a.result(static_cast<int64_t>(a.instance.table.beginScope())); }

napi_value endScope(Arguments& a) {
  a.instance.table.endScope(static_cast<int32_t>(a.integer(0)), a.handles(1));
  endStaleViews(a);
  return a.nothing();
}

napi_value keep(Arguments& a) {
  a.instance.table.keep(a.handle(0));
  return a.nothing();
}

napi_value liveTensors(Arguments& a) { return a.result(static_cast<int64_t>(a.instance.table.liveTensors())); }

/** liveBytes(): bytes by device, as a plain object. */
napi_value liveBytes(Arguments& a) {
  napi_value object;
  check(a.env, napi_create_object(a.env, &object));
  for (const auto& [device, bytes] : a.instance.table.liveBytes()) {
    check(a.env, napi_set_named_property(a.env, object, device.c_str(), a.result(static_cast<int64_t>(bytes))));
  }
  return object;
}

/** liveHandles(): every live tensor, for reports. */
napi_value liveHandles(Arguments& a) {
  const std::vector<Handle> handles = a.instance.table.liveHandles();
  return a.result(at::IntArrayRef(handles.data(), handles.size()));
}

}  // namespace

const CoreEntry kTensorFunctions[] = {
    {"fromBytes", fromBytes},   {"mapFile", mapFile},   {"toBytes", toBytes},
    {"item", item},             {"shape", shape},       {"dtype", dtype},
    {"device", device},         {"numel", numel},       {"isLive", isLive},
    {"toDevice", toDevice},     {"strides", strides},   {"isContiguous", isContiguous},
    {"nbytes", nbytes},         {"liveHandles", liveHandles},
    {"dispose", dispose},       {"beginScope", beginScope}, {"endScope", endScope},
    {"keep", keep},             {"liveTensors", liveTensors}, {"liveBytes", liveBytes},
    {nullptr, nullptr},
};

}  // namespace tessera
