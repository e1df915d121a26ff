// An encoder.ts: its TorchScript module, frozen, and the facts about the encoder that the file holds beside it.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <cstdint>
#include <string>
#include <vector>

#include "latent_encoder.h"

namespace vae {

struct Script {
  torch::jit::Module module;
  c10::Device device = c10::kCPU;  // where its weights are
  std::vector<int64_t> image_shape;
  int64_t latent_size = 0;
  std::string label;

  // Codes of images uint8 [B, *image_shape] by TorchScript, on the device of the weights and images.
  Codes forward(const at::Tensor& images) const;
};

Script read_script(const std::string& path, c10::Device device);

}  // namespace vae
