// Signs of life. A thread of each rank writes twice a second into the store: a counter and, for each group, the number
// and name of the collective it entered last. It costs nothing in a collective, and when one fails the others can tell a
// rank that is gone (its counter stands still) from one that has not come yet (its collective's number is lower).
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace tessera {

class Presence {
 public:
  /** `store`: a connection of its own, since a blocked one would stop the signs. */
  Presence(c10::intrusive_ptr<c10d::Store> store, std::string key, std::chrono::milliseconds interval);
  ~Presence();
  Presence(const Presence&) = delete;
  Presence& operator=(const Presence&) = delete;

  /** The latest collective of a group, and what befell this rank in it. */
  void note(const std::string& group, int64_t sequence, const std::string& label);
  /** Writes now instead of at the next beat. */
  void flush();

 private:
  void run();
  void write();

  c10::intrusive_ptr<c10d::Store> store_;
  const std::string key_;
  const std::chrono::milliseconds interval_;
  std::mutex mutex_;
  std::mutex writing_;
  std::condition_variable wake_;
  std::map<std::string, std::string> notes_;
  int64_t beat_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace tessera
