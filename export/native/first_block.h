// The first block of a convolutional encoder, from grey levels to the activations after the first leaky ReLU.
#pragma once

#include <optional>

#include "steps.h"

namespace vae {

// `weight` is a square kernel [C', C, K, K], `slope` the leaky ReLU's. The step takes images uint8 [B, C, H, W] to
// float32 [B, C', H', W'], channels-last. Nothing where torch's own convolution is as fast: on processors without
// AVX-512, and with fewer output channels than fill one of its vectors.
std::optional<Step> first_block(const at::Tensor& weight, const at::Tensor& bias, int64_t stride, int64_t padding,
                                float slope);

}  // namespace vae
