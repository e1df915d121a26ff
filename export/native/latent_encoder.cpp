// The class Encoder of latent_encoder.h: it checks what it is given, and a processor computes.
#include "latent_encoder.h"

#include <ATen/Context.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "processor.h"
#include "script.h"
#include "sizes.h"

namespace vae {

struct Encoder::Parts {
  Script script;
  std::unique_ptr<const Processor> processor;
};

Encoder::Encoder(const std::string& script, const std::string& device) : parts_(std::make_unique<Parts>()) {
  if (device != "cpu" && device != "cuda") throw Error("device " + device + " is not known; known are cpu, cuda");
  if (device == "cuda" && !at::hasCUDA()) throw Error("device cuda: torch sees no GPU here");
  const bool on_cpu = device == "cpu";
  parts_->script = read_script(script, on_cpu ? c10::Device(c10::kCPU) : c10::Device(c10::kCUDA, 0));
  parts_->processor = on_cpu ? cpu_processor(parts_->script) : cuda_processor(parts_->script);
}

Encoder::~Encoder() = default;

Codes Encoder::encode(const at::Tensor& images, int threads, int64_t batch) const {
  const std::vector<int64_t>& shape = image_shape();
  if (!images.defined() || !images.device().is_cpu()) throw Error("images are a tensor on the CPU");
  if (images.scalar_type() != at::kByte) throw Error("images are uint8 from 0 to 255, as they are");
  if (const std::string fault = misfit(images.sizes(), shape); !fault.empty()) throw Error(fault);
  std::vector<int64_t> sizes = shape;
  sizes.insert(sizes.begin(), images.size(0));
  const Codes codes{at::empty({images.size(0), latent_size()}, at::kFloat),
                    at::empty({images.size(0), latent_size()}, at::kFloat)};
  const int64_t wanted = batch > 0 ? batch : parts_->processor->usual_batch();
  const int64_t most = std::max<int64_t>(1, images.size(0));
  parts_->processor->encode(images.contiguous().reshape(sizes), codes, threads, std::min(wanted, most));
  return codes;
}

const std::vector<int64_t>& Encoder::image_shape() const { return parts_->script.image_shape; }
int64_t Encoder::latent_size() const { return parts_->script.latent_size; }
const std::string& Encoder::label() const { return parts_->script.label; }

}  // namespace vae
