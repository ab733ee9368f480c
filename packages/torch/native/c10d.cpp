// c10d: the store through which processes meet, process groups over Gloo (and NCCL), collectives. Errors leave here as
// libtorch says them; src/distributed turns them into ones that name the ranks.
#include "c10d.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Logging.h>

#define USE_C10D_GLOO 1
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "c10d_nccl.h"
#include "promise.h"

namespace tessera {
namespace {

using Milliseconds = std::chrono::milliseconds;

Milliseconds milliseconds(const Arguments& a, size_t i) {
  const int64_t value = a.integer(i);
  if (value < 1) throw std::runtime_error("a timeout must be at least 1 ms");
  return Milliseconds(value);
}

c10::intrusive_ptr<c10d::TCPStore> connect(const std::string& host, int64_t port, bool server, Milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(port);
  options.isServer = server;
  options.waitWorkers = false;
  options.timeout = timeout;
  return c10::make_intrusive<c10d::TCPStore>(host, options);
}

/** storeOpen(host, port, isServer, prefix, timeoutMs, presenceKey?, beatMs) → Promise<[store, port]> */
napi_value storeOpen(Arguments& a) {
  struct Opened {
    c10::intrusive_ptr<c10d::Store> store;
    std::unique_ptr<Presence> presence;
    int64_t port = 0;
  };
  // A library does not print; TORCH_CPP_LOG_LEVEL still shows what c10d says of its connections.
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = 3;
  const std::string host = a.string(0);
  const int64_t port = a.integer(1);
  if (port < 0 || port > 65535) throw std::runtime_error("a port must be in 0..65535");
  const bool server = a.boolean(2);
  const std::string prefix = a.string(3);
  const Milliseconds timeout = milliseconds(a, 4);
  const std::string key = a.isNothing(5) ? "" : a.string(5);
  const Milliseconds beat = milliseconds(a, 6);
  const auto opened = std::make_shared<Opened>();
  return runAsync(
      a,
      [=] {
        const auto tcp = connect(host, port, server, timeout);
        opened->port = tcp->getPort();
        opened->store = c10::make_intrusive<c10d::PrefixStore>(prefix, tcp);
        if (key.empty()) return;
        const auto own = connect(host, opened->port, false, timeout);
        opened->presence = std::make_unique<Presence>(c10::make_intrusive<c10d::PrefixStore>(prefix, own), key, beat);
      },
      [opened](Arguments& b) {
        Distributed& all = distributed(b);
        const int64_t id = all.next++;
        const int64_t shown = opened->port;
        all.stores[id] = {std::move(opened->store), std::move(opened->presence)};
        return b.result(at::IntArrayRef{id, shown});
      });
}

c10d::Store& storeAt(Arguments& a, size_t i) { return *entryAt(distributed(a).stores, a.integer(i), "store").store; }

napi_value storeSet(Arguments& a) {
  const auto [data, length] = a.bytes(2);
  storeAt(a, 0).set(a.string(1), std::vector<uint8_t>(data, data + length));
  return a.nothing();
}

/** storeGet(store, key): the bytes, or undefined where the key is not set. Never waits. */
napi_value storeGet(Arguments& a) {
  c10d::Store& store = storeAt(a, 0);
  const std::string key = a.string(1);
  if (!store.check({key})) return a.nothing();
  const std::vector<uint8_t> value = store.get(key);
  void* data = nullptr;
  napi_value buffer;
  check(a.env, napi_create_arraybuffer(a.env, value.size(), &data, &buffer));
  if (!value.empty()) std::memcpy(data, value.data(), value.size());
  return buffer;
}

napi_value storeAdd(Arguments& a) { return a.result(storeAt(a, 0).add(a.string(1), a.integer(2))); }
napi_value storeDelete(Arguments& a) { return a.result(storeAt(a, 0).deleteKey(a.string(1))); }

/** The signs of life under some keys, none where a key is not set. */
std::vector<std::string> readSigns(c10d::Store& store, const std::vector<std::string>& keys) {
  std::vector<std::string> signs;
  for (const std::string& key : keys) {
    const std::vector<uint8_t> text = store.check({key}) ? store.get(key) : std::vector<uint8_t>();
    signs.emplace_back(text.begin(), text.end());
  }
  return signs;
}

/** rollCall(store, keys, windowMs) → the last sign of life of each rank, empty where none came within the window. */
napi_value rollCall(Arguments& a) {
  c10d::Store& store = storeAt(a, 0);
  const std::vector<std::string> keys = a.strings(1);
  const auto deadline = std::chrono::steady_clock::now() + milliseconds(a, 2);
  const auto beat = [](const std::string& sign) { return sign.empty() ? int64_t{0} : std::stoll(sign); };
  const std::vector<std::string> first = readSigns(store, keys);
  std::vector<std::string> last = first;
  // Two beats further means that all of the sign was written after this call began.
  const auto isFresh = [&](size_t k) { return beat(last[k]) >= beat(first[k]) + 2; };
  for (;;) {
    bool all = true;
    for (size_t k = 0; k < keys.size(); ++k) all = all && isFresh(k);
    if (all || std::chrono::steady_clock::now() >= deadline) break;
    std::this_thread::sleep_for(Milliseconds(50));
    last = readSigns(store, keys);
  }
  napi_value array;
  check(a.env, napi_create_array_with_length(a.env, keys.size(), &array));
  for (size_t k = 0; k < keys.size(); ++k) {
    // Who said a last word need not be alive.
    const bool finished = last[k].find(" left") != std::string::npos || last[k].find(" failed") != std::string::npos;
    const bool alive = beat(last[k]) > beat(first[k]);
    check(a.env, napi_set_element(a.env, array, static_cast<uint32_t>(k), a.result(alive || finished ? last[k] : "")));
  }
  return array;
}

napi_value storeClose(Arguments& a) {
  Distributed& all = distributed(a);
  for (const auto& [id, group] : all.groups) {
    if (group.store == a.integer(0)) throw std::runtime_error("close the groups of a store before the store");
  }
  all.stores.erase(a.integer(0));
  return a.nothing();
}

std::shared_ptr<::gloo::transport::Device> glooDevice(const std::string& address) {
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  if (interface != nullptr && *interface != '\0') return c10d::ProcessGroupGloo::createDeviceForInterface(interface);
  return c10d::ProcessGroupGloo::createDeviceForHostname(address);
}

/** groupOpen(store, name, rank, size, timeoutMs, own address, nccl) → Promise<group>; meets the other ranks. */
napi_value groupOpen(Arguments& a) {
  const int64_t storeId = a.integer(0);
  const auto store = entryAt(distributed(a).stores, storeId, "store").store;
  const std::string name = a.string(1);
  const int rank = static_cast<int>(a.integer(2));
  const int size = static_cast<int>(a.integer(3));
  const Milliseconds timeout = milliseconds(a, 4);
  const std::string address = a.string(5);
  const bool nccl = a.boolean(6);
  const auto made = std::make_shared<c10::intrusive_ptr<c10d::ProcessGroup>>();
  return runAsync(
      a,
      [=] {
        const auto own = c10::make_intrusive<c10d::PrefixStore>(name, store);
        auto group = c10::make_intrusive<c10d::ProcessGroup>(own, rank, size);
        auto options = c10d::ProcessGroupGloo::Options::create(timeout);
        options->devices = {glooDevice(address)};
        options->threads = 2;
        const auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(
            c10::make_intrusive<c10d::PrefixStore>("gloo", own), rank, size, options);
        group->setBackend(at::kCPU, c10d::ProcessGroup::GLOO, gloo);
        group->setDefaultBackend(c10d::ProcessGroup::GLOO);
        if (nccl) addNccl(*group, c10::make_intrusive<c10d::PrefixStore>("nccl", own), rank, size, timeout);
        *made = std::move(group);
      },
      [made, storeId, name](Arguments& b) {
        Distributed& all = distributed(b);
        const int64_t id = all.next++;
        all.groups[id] = {std::move(*made), storeId, name, 0};
        return b.result(id);
      });
}

napi_value groupClose(Arguments& a) {
  distributed(a).groups.erase(a.integer(0));
  return a.nothing();
}

c10d::ReduceOp reduceOp(const std::string& name) {
  if (name == "sum") return c10d::ReduceOp::SUM;
  if (name == "max") return c10d::ReduceOp::MAX;
  if (name == "min") return c10d::ReduceOp::MIN;
  if (name == "product") return c10d::ReduceOp::PRODUCT;
  throw std::runtime_error("unknown reduction \"" + name + "\"");
}

/** collective(kind, group, input?, output?, reduction, root, timeoutMs, label) → work. Starts it and returns. */
napi_value collective(Arguments& a) {
  const at::NoGradGuard noGrad;
  const std::string kind = a.string(0);
  Distributed& all = distributed(a);
  GroupEntry& entry = entryAt(all.groups, a.integer(1), "process group");
  c10d::ProcessGroup& group = *entry.group;
  // In place for all-reduce and broadcast; gathering and scattering see flat tensors, whose order is the rows'.
  const bool inPlace = a.isNothing(3);
  std::vector<at::Tensor> tensors;
  for (const size_t i : {2, 3}) {
    if (a.isNothing(i)) continue;
    const at::Tensor tensor = a.tensor(i).detach();
    if (inPlace && !tensor.is_contiguous()) {
      throw std::runtime_error("the tensor is a view in another order: call contiguous() first");
    }
    tensors.push_back(inPlace ? tensor : tensor.contiguous().view({-1}));
  }
  const Milliseconds timeout = milliseconds(a, 6);
  enterCollective(all, entry, a.string(7));
  c10::intrusive_ptr<c10d::Work> work;
  if (kind == "allReduce") {
    c10d::AllreduceOptions options;
    options.reduceOp = reduceOp(a.string(4));
    options.timeout = timeout;
    work = group.allreduce(tensors, options);
  } else if (kind == "broadcast") {
    c10d::BroadcastOptions options;
    options.rootRank = a.integer(5);
    options.timeout = timeout;
    work = group.broadcast(tensors, options);
  } else if (kind == "allGather") {
    c10d::AllgatherOptions options;
    options.timeout = timeout;
    work = group._allgather_base(tensors.at(1), tensors.at(0), options);
  } else if (kind == "reduceScatter") {
    c10d::ReduceScatterOptions options;
    options.reduceOp = reduceOp(a.string(4));
    options.timeout = timeout;
    work = group._reduce_scatter_base(tensors.at(1), tensors.at(0), options);
  } else if (kind == "barrier") {
    c10d::BarrierOptions options;
    options.timeout = timeout;
    options.device_ids = barrierDevices(group);
    work = group.barrier(options);
  } else {
    throw std::runtime_error("unknown collective \"" + kind + "\"");
  }
  const int64_t id = all.next++;
  all.works[id] = {std::move(work), std::move(tensors)};
  return a.result(id);
}

napi_value workIsDone(Arguments& a) {
  return a.result(entryAt(distributed(a).works, a.integer(0), "work").work->isCompleted());
}

/** workWait(work): blocks until it is done, and forgets it. */
napi_value workWait(Arguments& a) {
  Distributed& all = distributed(a);
  const int64_t id = a.integer(0);
  const WorkEntry entry = std::move(entryAt(all.works, id, "work"));
  all.works.erase(id);
  entry.work->wait();
  return a.nothing();
}

/** workWatch(work, callback): calls back once it is done, well or badly. Gloo's works only. */
napi_value workWatch(Arguments& a) {
  const auto future = entryAt(distributed(a).works, a.integer(0), "work").work->getFuture();
  const auto done = callbackOnce(a, 1);
  future->addCallback([done](c10::ivalue::Future&) { done(); });
  return a.nothing();
}

/** groupNote(group, label): how this rank's last collective ended, for the others to read. */
napi_value groupNote(Arguments& a) {
  Distributed& all = distributed(a);
  GroupEntry& entry = entryAt(all.groups, a.integer(0), "process group");
  StoreEntry& store = entryAt(all.stores, entry.store, "store");
  if (store.presence != nullptr) {
    store.presence->note(entry.name, entry.sequence, a.string(1));
    store.presence->flush();
  }
  return a.nothing();
}

napi_value groupSequence(Arguments& a) {
  return a.result(entryAt(distributed(a).groups, a.integer(0), "process group").sequence);
}

napi_value distributedClose(Arguments& a) {
  distributed(a).close();
  return a.nothing();
}

napi_value hasNccl(Arguments& a) { return a.result(kHasNccl); }

}  // namespace

Distributed& distributed(Arguments& a) {
  if (a.instance.distributed == nullptr) a.instance.distributed = std::make_shared<Distributed>();
  return *static_cast<Distributed*>(a.instance.distributed.get());
}

void enterCollective(Distributed& all, GroupEntry& group, const std::string& label) {
  ++group.sequence;
  const auto store = all.stores.find(group.store);
  if (store != all.stores.end() && store->second.presence != nullptr) {
    store->second.presence->note(group.name, group.sequence, label);
  }
}

void Distributed::close() noexcept {
  bool pending = false;
  for (auto& [id, entry] : works) pending = pending || !entry.work->isCompleted();
  reducers.clear();
  works.clear();
  for (auto& [id, entry] : groups) {
    // Gloo's destructor waits for what is under way, which for a collective that hangs means its timeout. Left alone, the
    // group ends with the process.
    if (pending) entry.group.release();
  }
  groups.clear();
  stores.clear();
}

const CoreEntry kDistributedFunctions[] = {
    {"storeOpen", storeOpen},         {"storeSet", storeSet},       {"storeGet", storeGet},
    {"rollCall", rollCall},           {"storeAdd", storeAdd},           {"storeDelete", storeDelete}, {"storeClose", storeClose},
    {"groupOpen", groupOpen},         {"groupClose", groupClose},   {"groupNote", groupNote},
    {"groupSequence", groupSequence}, {"collective", collective},   {"workIsDone", workIsDone},
    {"workWait", workWait},           {"workWatch", workWatch},     {"distributedClose", distributedClose},
    {"hasNccl", hasNccl},             {nullptr, nullptr},
};

}  // namespace tessera
