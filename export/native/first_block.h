// The first block of a convolutional encoder, from grey levels to the activations after the first leaky ReLU.
#pragma once

#include "steps.h"

namespace vae {

// Whether the code below is faster than torch's on the processor that it is compiled for: with AVX-512, where the output
// channels fill a vector; with AVX2 torch's is at least as fast.
bool first_block_pays(int64_t outputs);

// `weight` is a square kernel [C', C, K, K], `slope` the leaky ReLU's. The step takes images uint8 [B, C, H, W] to
// float32 [B, C', H', W'], channels-last.
Step first_block(const at::Tensor& weight, const at::Tensor& bias, int64_t stride, int64_t padding, float slope);

}  // namespace vae
