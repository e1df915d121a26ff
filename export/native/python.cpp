// The encoder as a class of torch, `torch.classes.vae.Encoder`, for Python to load.
#include <torch/custom_class.h>

#include <string>
#include <tuple>

#include "latent_encoder.h"

namespace {

struct Bound : torch::CustomClassHolder {
  explicit Bound(const std::string& script, const std::string& device) : encoder(script, device) {}

  std::tuple<at::Tensor, at::Tensor> encode(const at::Tensor& images, int64_t threads) {
    const vae::Codes codes = encoder.encode(images, static_cast<int>(threads));
    return {codes.mean, codes.log_variance};
  }

  vae::Encoder encoder;
};

}  // namespace

TORCH_LIBRARY(vae, library) {
  library.class_<Bound>("Encoder").def(torch::init<std::string, std::string>()).def("encode", &Bound::encode);
}
