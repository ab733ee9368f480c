#include "c10d_presence.h"

namespace tessera {

Presence::Presence(c10::intrusive_ptr<c10d::Store> store, std::string key, std::chrono::milliseconds interval)
    : store_(std::move(store)), key_(std::move(key)), interval_(interval), thread_([this] { run(); }) {}

Presence::~Presence() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Presence::note(const std::string& group, int64_t sequence, const std::string& label) {
  const std::lock_guard<std::mutex> lock(mutex_);
  notes_[group] = std::to_string(sequence) + " " + label;
}

void Presence::flush() {
  try {
    write();
  } catch (...) {
    // The store is gone: whoever asks will see that too.
  }
}

void Presence::write() {
  const std::lock_guard<std::mutex> writing(writing_);
  std::string text;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    text = std::to_string(++beat_);
    for (const auto& [group, what] : notes_) text += "\n" + group + " " + what;
  }
  store_->set(key_, std::vector<uint8_t>(text.begin(), text.end()));
}

void Presence::run() {
  for (;;) {
    try {
      write();
    } catch (...) {
      return;  // The store is gone, and with it everybody who could read.
    }
    std::unique_lock<std::mutex> lock(mutex_);
    if (wake_.wait_for(lock, interval_, [this] { return stop_; })) return;
  }
}

}  // namespace tessera
