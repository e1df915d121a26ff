// Sizes of a tensor, as text and multiplied.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <sstream>
#include <string>

namespace vae {

inline std::string text(at::IntArrayRef sizes) {
  std::ostringstream out;
  out << sizes;
  return out.str();
}

inline int64_t product(at::IntArrayRef sizes) {
  int64_t all = 1;
  for (int64_t size : sizes) all *= size;
  return all;
}

}  // namespace vae
