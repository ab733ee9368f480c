// c10d::Reducer, the engine of PyTorch's DistributedDataParallel: gradients are gathered in buckets, and each bucket's
// all-reduce starts as soon as its last gradient is there, while the backward pass goes on.
#include <torch/csrc/distributed/c10d/logger.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>
#include <type_traits>

#include "c10d.h"

namespace tessera {
namespace {

using Buckets = std::vector<std::vector<size_t>>;
using Group = c10::intrusive_ptr<c10d::ProcessGroup>;
using Names = std::unordered_map<size_t, std::string>;

/** The constructor has grown from version to version; what is asked for is the same. A template, so that the calls which
 * this libtorch does not know are not compiled. */
template <typename Reducer>
std::shared_ptr<Reducer> makeReducer(const std::vector<at::Tensor>& parameters, const Buckets& buckets, const Group& group,
                                     int64_t bucketBytes, int64_t firstBucketBytes, bool findUnused, bool bucketViews) {
  const std::vector<bool> sparse(parameters.size(), false);
  if constexpr (std::is_constructible_v<Reducer, std::vector<at::Tensor>, Buckets, Group, std::vector<bool>, int64_t, bool,
                                        bool, Names, int64_t, bool, bool, std::vector<int64_t>>) {
    return std::make_shared<Reducer>(parameters, buckets, group, sparse, bucketBytes, findUnused, bucketViews, Names{},
                                     firstBucketBytes, false, false, std::vector<int64_t>{});
  } else if constexpr (std::is_constructible_v<Reducer, std::vector<at::Tensor>, Buckets, Group, std::vector<bool>, int64_t,
                                               bool, bool, Names, int64_t, bool, bool>) {
    return std::make_shared<Reducer>(parameters, buckets, group, sparse, bucketBytes, findUnused, bucketViews, Names{},
                                     firstBucketBytes, false, false);
  } else {
    return std::make_shared<Reducer>(parameters, buckets, group, sparse, bucketBytes, findUnused, bucketViews, Names{},
                                     firstBucketBytes);
  }
}

/** reducerOpen(group, parameters, bucketBytes, firstBucketBytes, findUnused, bucketViews) → reducer */
napi_value reducerOpen(Arguments& a) {
  Distributed& all = distributed(a);
  const int64_t groupId = a.integer(0);
  GroupEntry& group = entryAt(all.groups, groupId, "process group");
  const std::vector<at::Tensor> parameters = a.tensors(1);
  const int64_t bucketBytes = a.integer(2);
  const int64_t firstBucketBytes = a.integer(3);
  // Gradients come in about the reverse order of the parameters, so the buckets are made in that order.
  const std::vector<size_t> limits = {static_cast<size_t>(firstBucketBytes), static_cast<size_t>(bucketBytes)};
  Buckets buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(parameters, limits));
  std::reverse(buckets.begin(), buckets.end());
  ReducerEntry entry;
  entry.reducer = makeReducer<c10d::Reducer>(parameters, buckets, group.group, bucketBytes, firstBucketBytes, a.boolean(4),
                                             a.boolean(5));
  // Without a logger the second iteration reads through a null pointer.
  entry.logger = std::make_shared<c10d::Logger>(entry.reducer);
  entry.logger->set_construction_data_and_log("tessera", {}, -1, false, false, false);
  entry.reducer->set_logger(entry.logger);
  entry.group = groupId;
  entry.parameters = parameters.size();
  const int64_t id = all.next++;
  all.reducers[id] = std::move(entry);
  return a.result(id);
}

/** reducerPrepare(reducer, outputs): the next backward pass averages the gradients over the ranks. */
napi_value reducerPrepare(Arguments& a) {
  Distributed& all = distributed(a);
  ReducerEntry& entry = entryAt(all.reducers, a.integer(0), "reducer");
  GroupEntry& group = entryAt(all.groups, entry.group, "process group");
  enterCollective(all, group, "backward pass of " + std::to_string(entry.parameters) + " parameters");
  entry.reducer->rebuild_buckets();
  entry.logger->set_runtime_stats_and_log();
  entry.reducer->prepare_for_forward();
  entry.reducer->prepare_for_backward(a.tensors(1));
  return a.nothing();
}

/** Bytes of each bucket, in the order in which they are reduced. */
napi_value reducerBuckets(Arguments& a) {
  return a.result(at::IntArrayRef(entryAt(distributed(a).reducers, a.integer(0), "reducer").logger->get_bucket_sizes()));
}

napi_value reducerClose(Arguments& a) {
  distributed(a).reducers.erase(a.integer(0));
  return a.nothing();
}

}  // namespace

const CoreEntry kReducerFunctions[] = {
    {"reducerOpen", reducerOpen},
    {"reducerPrepare", reducerPrepare},
    {"reducerBuckets", reducerBuckets},
    {"reducerClose", reducerClose},
    {nullptr, nullptr},
};

}  // namespace tessera
