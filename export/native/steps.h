// The layers of an encoder's TorchScript graph as steps, which run without TorchScript's interpreter.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace torch::jit {
struct Graph;
}

namespace vae {

// From the result of the step before; `buffer` is the step's memory from one batch to the next, on one thread.
using Step = std::function<at::Tensor(const at::Tensor& in, at::Tensor& buffer)>;

// What to do with a batch, step by step, the last giving mean and log-variance side by side; nothing for a graph that
// is not made of layers that are known here, which TorchScript runs.
std::vector<Step> plan(const torch::jit::Graph& graph, int64_t latent_size);

}  // namespace vae
