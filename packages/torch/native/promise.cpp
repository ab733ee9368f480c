#include "promise.h"

#include <memory>

namespace tessera {
namespace {

struct Job {
  Instance* instance;
  std::function<void()> work;
  std::function<napi_value(Arguments&)> finish;
  napi_deferred deferred = nullptr;
  napi_async_work handle = nullptr;
  std::string error;
  bool failed = false;
};

void execute(napi_env, void* data) {
  auto& job = *static_cast<Job*>(data);
  try {
    job.work();
  } catch (const c10::Error& error) {
    job.failed = true;
    job.error = error.what_without_backtrace();
  } catch (const std::exception& error) {
    job.failed = true;
    job.error = error.what();
  } catch (...) {
    job.failed = true;
    job.error = "an unknown C++ exception";
  }
}

void complete(napi_env env, napi_status, void* data) {
  const std::unique_ptr<Job> job(static_cast<Job*>(data));
  napi_delete_async_work(env, job->handle);
  napi_value result = nullptr;
  if (!job->failed) {
    Arguments none(env, *job->instance, nullptr, 0);
    try {
      result = job->finish(none);
    } catch (const std::exception& error) {
      job->failed = true;
      job->error = error.what();
    } catch (...) {
      return;  // The environment is ending.
    }
  }
  if (!job->failed) {
    napi_resolve_deferred(env, job->deferred, result);
    return;
  }
  napi_value code;
  napi_value message;
  napi_value error;
  napi_create_string_utf8(env, "TORCH", NAPI_AUTO_LENGTH, &code);
  napi_create_string_utf8(env, job->error.data(), job->error.size(), &message);
  napi_create_error(env, code, message, &error);
  napi_reject_deferred(env, job->deferred, error);
}

}  // namespace

napi_value runAsync(Arguments& a, std::function<void()> work, std::function<napi_value(Arguments&)> finish) {
  auto job = std::make_unique<Job>();
  job->instance = &a.instance;
  job->work = std::move(work);
  job->finish = std::move(finish);
  napi_value promise;
  napi_value name;
  check(a.env, napi_create_promise(a.env, &job->deferred, &promise));
  check(a.env, napi_create_string_utf8(a.env, "tessera", NAPI_AUTO_LENGTH, &name));
  check(a.env, napi_create_async_work(a.env, nullptr, name, execute, complete, job.get(), &job->handle));
  check(a.env, napi_queue_async_work(a.env, job->handle));
  job.release();
  return promise;
}

std::function<void()> callbackOnce(Arguments& a, size_t function) {
  napi_value name;
  napi_threadsafe_function safe = nullptr;
  check(a.env, napi_create_string_utf8(a.env, "tessera", NAPI_AUTO_LENGTH, &name));
  check(a.env, napi_create_threadsafe_function(a.env, a.value(function), nullptr, name, 0, 1, nullptr, nullptr, nullptr,
                                               nullptr, &safe));
  return [safe] {
    napi_call_threadsafe_function(safe, nullptr, napi_tsfn_nonblocking);
    napi_release_threadsafe_function(safe, napi_tsfn_release);
  };
}

}  // namespace tessera
