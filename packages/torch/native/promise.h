// A promise whose work runs on a thread of libuv's pool, for what may block: connecting and meeting other processes.
#pragma once

#include <functional>

#include "arguments.h"

namespace tessera {

/** `work` runs off the event loop and must not touch JavaScript; `finish` makes the result, back on the loop. */
napi_value runAsync(Arguments& a, std::function<void()> work, std::function<napi_value(Arguments&)> finish);

/** A callback into JavaScript that any thread may call once; it keeps the process alive until then. */
std::function<void()> callbackOnce(Arguments& a, size_t function);

}  // namespace tessera
