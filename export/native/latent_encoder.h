// A trained encoder in C++: images in, mean and log-variance of q(z|x) out.
//
//     vae::Encoder encoder("results/models/L50_DNN1_CNN4/seed0/encoder.ts");
//     vae::Codes codes = encoder.encode(images);  // uint8 [N, H, W]
//
// Bad input is a vae::Error that says in a line what is wrong and what to do.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace vae {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Each float32 [N, latent], on the CPU.
struct Codes {
  at::Tensor mean, log_variance;
};

class Encoder {
 public:
  // Loads an encoder.ts of this package; `device` is "cpu" or "cuda".
  explicit Encoder(const std::string& script, const std::string& device = "cpu");
  ~Encoder();

  // Codes of images uint8 [N, H, W], [N, C, H, W] or flat, on the CPU; one channel may have an axis or none. Pinned
  // memory spares a GPU a copy. `threads` is how many CPU threads to use, `batch` how many images are computed at once;
  // 0 is all, and what was measured best. On a CPU the codes do not depend on the threads. torch's own number of
  // threads, which a process has one of, is 1 meanwhile: calls from several threads at once are sound, but may leave it
  // so.
  Codes encode(const at::Tensor& images, int threads = 0, int64_t batch = 0) const;

  const std::vector<int64_t>& image_shape() const;  // (H, W) or (C, H, W)
  int64_t latent_size() const;
  const std::string& label() const;  // such as L50_DNN1_CNN4

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// Images uint8 of an IDX or .npy file, read a chunk at a time.
class ImageFile {
 public:
  // Checks what the file promises against its size before memory is taken.
  explicit ImageFile(const std::string& path);

  at::Tensor read(int64_t most);  // the next images, as many as there are up to `most`; [0, ...] at the end

  int64_t count() const { return count_; }
  const std::vector<int64_t>& shape() const { return shape_; }  // of one image

 private:
  void read_idx();
  void read_npy();

  std::string path_;
  std::ifstream stream_;
  std::vector<int64_t> shape_;
  int64_t count_ = 0, seen_ = 0, each_ = 1;
};

// A .npy of float32 [count, columns], written a chunk at a time, that appears whole or not at all.
class CodeFile {
 public:
  CodeFile(const std::string& path, int64_t count, int64_t columns, bool overwrite);
  ~CodeFile();  // removes what was not finished

  void write(const at::Tensor& rows);
  void finish();  // once all that was promised is written

 private:
  std::string path_, partial_;
  int64_t missing_, columns_;
  std::ofstream stream_;
};

// Keep the C library from giving activations back to the kernel after every batch, for the whole process; page faults
// cost a convolutional encoder up to half of its speed without. Does nothing where the library is not glibc.
void keep_memory();

}  // namespace vae
