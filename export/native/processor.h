// What computes the codes of images batch by batch: the threads of a CPU, or a GPU.
#pragma once

#include <cstdint>
#include <memory>

#include "latent_encoder.h"
#include "script.h"

namespace vae {

class Processor {
 public:
  virtual ~Processor() = default;

  virtual int64_t usual_batch() const = 0;  // how many images are computed at once, where nothing else is asked for

  // Fills `codes` with those of images uint8 [N, *image_shape]; `threads` is for a CPU.
  virtual void encode(const at::Tensor& images, const Codes& codes, int threads, int64_t batch) const = 0;
};

// The script has its weights on the device that computes, and outlives the processor.
std::unique_ptr<const Processor> cpu_processor(const Script& script);
std::unique_ptr<const Processor> cuda_processor(const Script& script);

}  // namespace vae
