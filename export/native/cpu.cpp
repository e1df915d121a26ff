// Threads of a CPU, each of which takes one batch after the other and computes it alone.
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "processor.h"
#include "steps.h"

namespace vae {
namespace {

// torch computes on the calling thread alone while this lives: threads work on batches of their own.
struct OneThread {
  int before = at::get_num_threads();
  OneThread() { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before); }
};

class Cpu : public Processor {
 public:
  explicit Cpu(const Script& script)
      : script_(script), steps_(plan(*script.module.get_method("forward").graph(), script.latent_size)) {}

  int64_t usual_batch() const override { return 128; }  // activations stay in a core's cache

  void encode(const at::Tensor& images, const Codes& codes, int threads, int64_t batch) const override {
    const OneThread guard;
    std::atomic<int64_t> next = 0;
    std::exception_ptr failure;
    std::mutex failing;
    const auto work = [&] {
      try {
        at::set_num_threads(1);  // OpenMP counts for each thread apart
        const c10::InferenceMode inference;
        std::vector<at::Tensor> memory(steps_.size());
        for (int64_t start; (start = next.fetch_add(batch)) < images.size(0);) {
          const int64_t count = std::min(batch, images.size(0) - start);
          const Codes part = forward(images.narrow(0, start, count), memory);
          codes.mean.narrow(0, start, count).copy_(part.mean);
          codes.log_variance.narrow(0, start, count).copy_(part.log_variance);
        }
      } catch (...) {
        const std::lock_guard lock(failing);
        failure = std::current_exception();
      }
    };
    std::vector<std::thread> helpers;
    const int64_t wanted = threads > 0 ? threads : std::max(1u, std::thread::hardware_concurrency());
    const int64_t most = (images.size(0) + batch - 1) / batch;
    try {
      for (int64_t i = 1; i < std::min(wanted, most); i++) helpers.emplace_back(work);
    } catch (const std::system_error&) {
      // The system gives no more threads: those that there are take the work.
    }
    work();
    for (std::thread& helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
  }

 private:
  Codes forward(const at::Tensor& images, std::vector<at::Tensor>& memory) const {
    if (steps_.empty()) return script_.forward(images);
    at::Tensor result = images;
    for (size_t i = 0; i < steps_.size(); i++) result = steps_[i](result, memory[i]);
    return {result.narrow(1, 0, script_.latent_size), result.narrow(1, script_.latent_size, script_.latent_size)};
  }

  const Script& script_;
  std::vector<Step> steps_;
};

}  // namespace

std::unique_ptr<const Processor> cpu_processor(const Script& script) { return std::make_unique<Cpu>(script); }

}  // namespace vae
