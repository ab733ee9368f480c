// What the distributed sources share: stores, process groups, works and reducers of one JavaScript environment, named
// by numbers. Tensors of a work are held here until it is waited for, so that scopes may end meanwhile.
#pragma once

#include <map>
#include <memory>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "c10d_presence.h"
#include "core.h"

namespace c10d {
class Reducer;
class Logger;
}  // namespace c10d

namespace tessera {

struct StoreEntry {
  c10::intrusive_ptr<c10d::Store> store;
  std::unique_ptr<Presence> presence;
};

struct GroupEntry {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
  int64_t store;
  /** The group's name in the presence of its ranks, and its number of collectives so far. */
  std::string name;
  int64_t sequence = 0;
};

struct WorkEntry {
  c10::intrusive_ptr<c10d::Work> work;
  std::vector<at::Tensor> tensors;
};

struct ReducerEntry {
  std::shared_ptr<c10d::Reducer> reducer;
  std::shared_ptr<c10d::Logger> logger;
  int64_t group;
  size_t parameters;
};

struct Distributed {
  int64_t next = 1;
  std::map<int64_t, StoreEntry> stores;
  std::map<int64_t, GroupEntry> groups;
  std::map<int64_t, WorkEntry> works;
  std::map<int64_t, ReducerEntry> reducers;

  ~Distributed() { close(); }
  /** Ends everything in the order in which it depends on each other; never waits for a collective that hangs. */
  void close() noexcept;
};

Distributed& distributed(Arguments& a);

template <typename Entry>
Entry& entryAt(std::map<int64_t, Entry>& entries, int64_t id, const char* what) {
  const auto found = entries.find(id);
  if (found == entries.end()) throw std::runtime_error(std::string("this ") + what + " has been closed");
  return found->second;
}

/** Notes in the presence that this rank enters the group's next collective, and says which it is. */
void enterCollective(Distributed& all, GroupEntry& group, const std::string& label);

}  // namespace tessera
