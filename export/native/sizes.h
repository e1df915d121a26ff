// Sizes of a tensor, as text and multiplied; and whether those of images fit an encoder.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

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

// Whether an image has the same pixels in the same order as one of `shape`: it may be flat, and one channel may have an
// axis of its own or none, in either of them.
inline bool alike(const std::vector<int64_t>& image, const std::vector<int64_t>& shape) {
  using Sizes = std::vector<int64_t>;
  if (image == shape || image == Sizes{product(shape)}) return true;
  if (shape.size() != 2 && (shape.size() != 3 || shape[0] != 1)) return false;
  const int64_t height = shape[shape.size() - 2], width = shape.back();
  return image == Sizes{height, width} || image == Sizes{1, height, width} || image == Sizes{height, width, 1};
}

// What keeps an encoder of images of `shape` from taking images of these sizes, [N, ...], and what to do; or nothing.
inline std::string misfit(at::IntArrayRef images, const std::vector<int64_t>& shape) {
  const std::vector<int64_t> whole = images.vec();
  const std::vector<int64_t> image(whole.begin() + (whole.empty() ? 0 : 1), whole.end());
  if (alike(image, shape)) return "";
  std::string line = "images are [N";
  for (int64_t size : shape) line += ", " + std::to_string(size);
  line += "], not " + text(images);
  if (alike(whole, shape)) return line + "; give a single image an axis of 1 in front";
  if (shape.size() == 3 && image == std::vector<int64_t>{shape[1], shape[2], shape[0]})
    return line + "; they look channel-last, give [N, C, H, W]";
  return line;
}

}  // namespace vae
