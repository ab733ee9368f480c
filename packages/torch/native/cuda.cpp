// CUDA: devices, streams, events, memory, graphs. c10's and the run time's interfaces only, so that the headers of cuBLAS and its like are
// not needed. Without TESSERA_CUDA the functions are not there, and src/cuda says so in one line.
#include "core.h"

#ifdef TESSERA_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <map>
#endif

namespace tessera {
namespace {

napi_value hasCudaBuild(Arguments& a) {
#ifdef TESSERA_CUDA
  return a.result(true);
#else
  return a.result(false);
#endif
}

// Pinning goes through ATen and needs no CUDA header.
napi_value pinMemory(Arguments& a) { return a.result(a.tensor(0).pin_memory()); }
napi_value isPinned(Arguments& a) { return a.result(a.tensor(0).is_pinned()); }
/** toDeviceAsync(tensor, device): returns before the copy is done where the host's side is pinned. */
napi_value toDeviceAsync(Arguments& a) {
  return a.result(a.tensor(0).to(a.tensor(0).options().device(at::Device(a.string(1))), /*non_blocking=*/true));
}

#ifdef TESSERA_CUDA

/** An event of our own: c10's class moved between headers from version to version. */
struct Event {
  cudaEvent_t event = nullptr;
  explicit Event(bool timing) {
    C10_CUDA_CHECK(cudaEventCreateWithFlags(&event, timing ? cudaEventDefault : cudaEventDisableTiming));
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event); }
};

struct Cuda {
  int64_t next = 1;
  std::map<int64_t, c10::cuda::CUDAStream> streams;
  std::map<int64_t, std::unique_ptr<Event>> events;
  std::map<int64_t, std::unique_ptr<at::cuda::CUDAGraph>> graphs;
};

Cuda& cuda(Arguments& a) {
  if (a.instance.cuda == nullptr) a.instance.cuda = std::make_shared<Cuda>();
  return *static_cast<Cuda*>(a.instance.cuda.get());
}

c10::DeviceIndex deviceAt(const Arguments& a, size_t i) {
  const int64_t index = a.integer(i);
  if (index < 0 || index >= c10::cuda::device_count()) {
    throw std::runtime_error("there is no device cuda:" + std::to_string(index) + ", only " +
                             std::to_string(c10::cuda::device_count()));
  }
  at::globalContext().lazyInitDevice(at::kCUDA);  // without it the allocator has no statistics
  return static_cast<c10::DeviceIndex>(index);
}

template <typename Map>
auto& entryOf(Map& map, int64_t id, const char* what) {
  const auto found = map.find(id);
  if (found == map.end()) throw std::runtime_error(std::string("this ") + what + " has been disposed");
  return found->second;
}

napi_value cudaSetDeviceIndex(Arguments& a) {
  c10::cuda::set_device(deviceAt(a, 0));
  return a.nothing();
}

napi_value cudaCurrentDevice(Arguments& a) { return a.result(static_cast<int64_t>(c10::cuda::current_device())); }

napi_value cudaDeviceName(Arguments& a) {
  cudaDeviceProp properties{};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, deviceAt(a, 0)));
  return a.result(std::string(properties.name));
}

/** [major, minor, total bytes, multiprocessors] */
napi_value cudaDeviceNumbers(Arguments& a) {
  cudaDeviceProp properties{};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, deviceAt(a, 0)));
  return a.result(at::IntArrayRef{properties.major, properties.minor, static_cast<int64_t>(properties.totalGlobalMem),
                                  properties.multiProcessorCount});
}

napi_value cudaSynchronize(Arguments& a) {
  const c10::cuda::CUDAGuard guard(deviceAt(a, 0));
  c10::cuda::device_synchronize();
  return a.nothing();
}

/** [allocated, its peak, reserved, its peak, free on the device, total of the device] */
napi_value cudaMemory(Arguments& a) {
  const c10::DeviceIndex device = deviceAt(a, 0);
  const c10::cuda::CUDAGuard guard(device);
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device);
  size_t free = 0;
  size_t total = 0;
  C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return a.result(at::IntArrayRef{stats.allocated_bytes[0].current, stats.allocated_bytes[0].peak,
                                  stats.reserved_bytes[0].current, stats.reserved_bytes[0].peak,
                                  static_cast<int64_t>(free), static_cast<int64_t>(total)});
}

napi_value cudaResetPeakMemory(Arguments& a) {
  c10::cuda::CUDACachingAllocator::resetPeakStats(deviceAt(a, 0));
  return a.nothing();
}

napi_value cudaEmptyCache(Arguments& a) {
  c10::cuda::CUDACachingAllocator::emptyCache();
  return a.nothing();
}

/** streamOpen(device, isHighPriority) → stream, from c10's pool. */
napi_value streamOpen(Arguments& a) {
  Cuda& all = cuda(a);
  const int64_t id = all.next++;
  all.streams.emplace(id, c10::cuda::getStreamFromPool(a.boolean(1), deviceAt(a, 0)));
  return a.result(id);
}

/** streamSwap(stream): makes it the current one of its device; the stream that was current comes back as a new id. */
napi_value streamSwap(Arguments& a) {
  Cuda& all = cuda(a);
  const c10::cuda::CUDAStream stream = entryOf(all.streams, a.integer(0), "stream");
  const int64_t id = all.next++;
  all.streams.emplace(id, c10::cuda::getCurrentCUDAStream(stream.device_index()));
  c10::cuda::setCurrentCUDAStream(stream);
  return a.result(id);
}

napi_value streamSynchronize(Arguments& a) {
  entryOf(cuda(a).streams, a.integer(0), "stream").synchronize();
  return a.nothing();
}

napi_value streamClose(Arguments& a) {
  cuda(a).streams.erase(a.integer(0));
  return a.nothing();
}

/** recordStream(tensor, stream): its memory is not given away before the stream has come this far. */
napi_value recordStream(Arguments& a) {
  a.tensor(0).record_stream(entryOf(cuda(a).streams, a.integer(1), "stream").unwrap());
  return a.nothing();
}

c10::cuda::CUDAStream streamOrCurrent(Arguments& a, size_t i) {
  return a.isNothing(i) ? c10::cuda::getCurrentCUDAStream() : entryOf(cuda(a).streams, a.integer(i), "stream");
}

napi_value eventOpen(Arguments& a) {
  Cuda& all = cuda(a);
  const int64_t id = all.next++;
  all.events.emplace(id, std::make_unique<Event>(a.boolean(0)));
  return a.result(id);
}

napi_value eventRecord(Arguments& a) {
  const c10::cuda::CUDAStream stream = streamOrCurrent(a, 1);
  const c10::cuda::CUDAGuard guard(stream.device_index());
  C10_CUDA_CHECK(cudaEventRecord(entryOf(cuda(a).events, a.integer(0), "event")->event, stream.stream()));
  return a.nothing();
}

napi_value eventWait(Arguments& a) {
  const c10::cuda::CUDAStream stream = streamOrCurrent(a, 1);
  C10_CUDA_CHECK(cudaStreamWaitEvent(stream.stream(), entryOf(cuda(a).events, a.integer(0), "event")->event, 0));
  return a.nothing();
}

napi_value eventSynchronize(Arguments& a) {
  C10_CUDA_CHECK(cudaEventSynchronize(entryOf(cuda(a).events, a.integer(0), "event")->event));
  return a.nothing();
}

napi_value eventIsDone(Arguments& a) {
  const cudaError_t state = cudaEventQuery(entryOf(cuda(a).events, a.integer(0), "event")->event);
  if (state == cudaErrorNotReady) {
    static_cast<void>(cudaGetLastError());  // not an error to remember
    return a.result(false);
  }
  C10_CUDA_CHECK(state);
  return a.result(true);
}

napi_value eventElapsed(Arguments& a) {
  float milliseconds = 0;
  auto& events = cuda(a).events;
  C10_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, entryOf(events, a.integer(0), "event")->event,
                                      entryOf(events, a.integer(1), "event")->event));
  return a.result(static_cast<double>(milliseconds));
}

napi_value eventClose(Arguments& a) {
  cuda(a).events.erase(a.integer(0));
  return a.nothing();
}

napi_value graphOpen(Arguments& a) {
  Cuda& all = cuda(a);
  const int64_t id = all.next++;
  all.graphs.emplace(id, std::make_unique<at::cuda::CUDAGraph>());
  return a.result(id);
}

/**
 * graphBegin(graph, other graph or nothing): what follows on the current stream, which must not be the default one, is
 * recorded, not run. With another graph, one that has been recorded, both work in that one's memory.
 */
napi_value graphBegin(Arguments& a) {
  auto& graphs = cuda(a).graphs;
  const auto& graph = entryOf(graphs, a.integer(0), "graph");
  if (a.isNothing(1)) graph->capture_begin();
  else graph->capture_begin(entryOf(graphs, a.integer(1), "graph")->pool());
  return a.nothing();
}

napi_value graphEnd(Arguments& a) {
  entryOf(cuda(a).graphs, a.integer(0), "graph")->capture_end();
  return a.nothing();
}

napi_value graphReplay(Arguments& a) {
  entryOf(cuda(a).graphs, a.integer(0), "graph")->replay();
  return a.nothing();
}

napi_value graphClose(Arguments& a) {
  cuda(a).graphs.erase(a.integer(0));
  return a.nothing();
}

#endif

}  // namespace

const CoreEntry kCudaFunctions[] = {
    {"hasCudaBuild", hasCudaBuild},
    {"pinMemory", pinMemory},
    {"isPinned", isPinned},
    {"toDeviceAsync", toDeviceAsync},
#ifdef TESSERA_CUDA
    {"cudaSetDevice", cudaSetDeviceIndex},
    {"cudaCurrentDevice", cudaCurrentDevice},
    {"cudaDeviceName", cudaDeviceName},
    {"cudaDeviceNumbers", cudaDeviceNumbers},
    {"cudaSynchronize", cudaSynchronize},
    {"cudaMemory", cudaMemory},
    {"cudaResetPeakMemory", cudaResetPeakMemory},
    {"cudaEmptyCache", cudaEmptyCache},
    {"streamOpen", streamOpen},
    {"streamSwap", streamSwap},
    {"streamSynchronize", streamSynchronize},
    {"streamClose", streamClose},
    {"recordStream", recordStream},
    {"eventOpen", eventOpen},
    {"eventRecord", eventRecord},
    {"eventWait", eventWait},
    {"eventSynchronize", eventSynchronize},
    {"eventIsDone", eventIsDone},
    {"eventElapsed", eventElapsed},
    {"eventClose", eventClose},
    {"graphOpen", graphOpen},
    {"graphBegin", graphBegin},
    {"graphEnd", graphEnd},
    {"graphReplay", graphReplay},
    {"graphClose", graphClose},
#endif
    {nullptr, nullptr},
};

}  // namespace tessera
