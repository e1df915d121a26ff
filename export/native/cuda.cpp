// A GPU, which computes a batch while the next is copied to it.
#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <array>
#include <vector>

#include "processor.h"

namespace vae {
namespace {

class Cuda : public Processor {
 public:
  explicit Cuda(const Script& script)
      : script_(script),
        gpu_(script.device.type()),
        copying_(gpu_.getStreamFromGlobalPool(script.device)),
        computing_(gpu_.getStreamFromGlobalPool(script.device)) {}

  int64_t usual_batch() const override { return 16384; }  // enough to fill it

  // Two slots take turns: while one batch is computed, the next is copied to the device on a stream of its own.
  void encode(const at::Tensor& images, const Codes& codes, int, int64_t batch) const override {
    const c10::InferenceMode inference;
    const c10::Device device = script_.device;
    struct Slot {
      at::Tensor staged, images;
      Codes codes;
      c10::Event arrived, done;
      int64_t start = 0, count = 0;
    };
    std::vector<int64_t> shape = script_.image_shape;
    shape.insert(shape.begin(), batch);
    const auto pinned = at::TensorOptions().pinned_memory(true);
    const auto slot = [&] {
      return Slot{at::empty(shape, pinned.dtype(at::kByte)),
                  at::empty(shape, at::TensorOptions(device).dtype(at::kByte)),
                  {at::empty({batch, script_.latent_size}, pinned.dtype(at::kFloat)),
                   at::empty({batch, script_.latent_size}, pinned.dtype(at::kFloat))},
                  c10::Event(device.type()), c10::Event(device.type())};
    };
    std::array<Slot, 2> slots{slot(), slot()};
    // Their memory comes from the caller's stream, where its last use may not be over; and it goes back there, whatever
    // happens, only when the streams here are done with it.
    c10::Event ready(device.type());
    ready.record(gpu_.getStream(device));
    ready.block(copying_);
    ready.block(computing_);
    struct Finish {
      const Cuda& cuda;
      ~Finish() {
        for (const c10::Stream& stream : {cuda.copying_, cuda.computing_}) cuda.gpu_.synchronizeStream(stream);
      }
    } finish{*this};
    const auto collect = [&](Slot& from) {
      if (!from.count) return;
      from.done.synchronize();
      codes.mean.narrow(0, from.start, from.count).copy_(from.codes.mean.narrow(0, 0, from.count));
      codes.log_variance.narrow(0, from.start, from.count).copy_(from.codes.log_variance.narrow(0, 0, from.count));
      from.count = 0;
    };
    const bool staging = !images.is_pinned();
    int turn = 0;
    for (int64_t start = 0; start < images.size(0); start += batch, turn ^= 1) {
      Slot& current = slots[turn];
      collect(current);
      current.start = start;
      current.count = std::min(batch, images.size(0) - start);
      at::Tensor from = images.narrow(0, start, current.count);
      if (staging) from = current.staged.narrow(0, 0, current.count).copy_(from);
      const at::Tensor here = current.images.narrow(0, 0, current.count);
      {
        const c10::StreamGuard guard(copying_);
        here.copy_(from, /*non_blocking=*/true);
        current.arrived.record(copying_);
      }
      const c10::StreamGuard guard(computing_);
      current.arrived.block(computing_);
      const Codes part = script_.forward(here);
      current.codes.mean.narrow(0, 0, current.count).copy_(part.mean, true);
      current.codes.log_variance.narrow(0, 0, current.count).copy_(part.log_variance, true);
      current.done.record(computing_);
    }
    collect(slots[turn]);
    collect(slots[turn ^ 1]);
  }

 private:
  const Script& script_;
  c10::impl::VirtualGuardImpl gpu_;
  c10::Stream copying_, computing_;
};

}  // namespace

std::unique_ptr<const Processor> cuda_processor(const Script& script) { return std::make_unique<Cuda>(script); }

}  // namespace vae
