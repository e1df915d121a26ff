// The class ImageFile of latent_encoder.h.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "latent_encoder.h"
#include "sizes.h"

namespace vae {

ImageFile::ImageFile(const std::string& path) : path_(path) {
  if (std::filesystem::is_directory(path)) throw Error(path + ": a folder, which `vae encode` reads; give IDX or .npy");
  if (!std::filesystem::is_regular_file(path)) throw Error(path + ": no such file");
  if (path.ends_with(".gz")) throw Error(path + ": packed; unpack it first, with gunzip");
  stream_.open(path, std::ios::binary);
  if (!stream_) throw std::system_error(errno, std::generic_category(), path);
  path.ends_with(".npy") ? read_npy() : read_idx();
  if (!stream_) throw Error(path + ": truncated in its header");
  const int64_t there = static_cast<int64_t>(std::filesystem::file_size(path)) - stream_.tellg();
  __int128 promised = count_;
  for (int64_t size : shape_) promised = std::min<__int128>(promised * size, INT64_MAX);
  if (promised != there)
    throw Error(path + ": " + std::to_string(count_) + " images of " + text(shape_) + " take " +
                std::to_string(static_cast<int64_t>(promised)) + " bytes, " + std::to_string(there) + " are there");
  if (!there) throw Error(path + ": is empty");
  each_ = product(shape_);
}

void ImageFile::read_idx() {
  std::array<uint8_t, 4> magic{};
  stream_.read(reinterpret_cast<char*>(magic.data()), magic.size());
  if (!stream_ || magic[0] || magic[1] || magic[2] != 0x08 || magic[3] < 2)
    throw Error(path_ + ": not an IDX file of images (unsigned bytes, at least two dimensions), nor named .npy");
  for (int i = 0; i < magic[3]; i++) {
    std::array<uint8_t, 4> raw{};
    stream_.read(reinterpret_cast<char*>(raw.data()), raw.size());
    const int64_t size = int64_t{raw[0]} << 24 | raw[1] << 16 | raw[2] << 8 | raw[3];
    i ? shape_.push_back(size) : void(count_ = size);
  }
}

void ImageFile::read_npy() {
  std::array<char, 8> magic{};
  stream_.read(magic.data(), magic.size());
  const bool npy = stream_ && !std::memcmp(magic.data(), "\x93NUMPY", 6) && magic[6] >= 1 && magic[6] <= 3;
  std::array<uint8_t, 4> raw{};
  stream_.read(reinterpret_cast<char*>(raw.data()), magic[6] == 1 ? 2 : 4);
  const uint32_t length = raw[0] | raw[1] << 8 | raw[2] << 16 | uint32_t{raw[3]} << 24;
  if (!npy || !stream_ || length > 65536) throw Error(path_ + ": not a sound .npy");
  std::string header(length, ' ');
  if (!stream_.read(header.data(), length)) throw Error(path_ + ": not a sound .npy");
  const auto value = [&](const std::string& key) {
    const std::string quoted = "'" + key + "': ";
    const size_t at = header.find(quoted);
    if (at == std::string::npos) throw Error(path_ + ": not a sound .npy");
    return header.substr(at + quoted.size());
  };
  if (!value("descr").starts_with("'|u1'"))
    throw Error(path_ + ": images are uint8 [N, ...] from 0 to 255, as they are, not " + value("descr").substr(0, 5));
  if (!value("fortran_order").starts_with("False"))
    throw Error(path_ + ": images are in Fortran order; save np.ascontiguousarray(images)");
  const std::string shape = value("shape");
  std::vector<int64_t> all;
  const char *at = shape.data(), *const last = at + shape.size();
  while (at != last && *at != ')') {  // "(60000, 28, 28)"
    int64_t size = -1;
    const auto [end, fault] = std::from_chars(at + 1, last, size);
    if ((*at != '(' && *at != ' ') || fault != std::errc() || size < 0) throw Error(path_ + ": not a sound .npy");
    all.push_back(size);
    at = end != last && *end == ',' ? end + 1 : end;
  }
  if (at == last) throw Error(path_ + ": not a sound .npy");
  if (all.size() < 2) throw Error(path_ + ": images are uint8 [N, ...], not " + text(all));
  count_ = all[0];
  shape_.assign(all.begin() + 1, all.end());
}

at::Tensor ImageFile::read(int64_t most) {
  const int64_t wanted = std::min(most, count_ - seen_);
  std::vector<int64_t> sizes = shape_;
  sizes.insert(sizes.begin(), wanted);
  at::Tensor images = at::empty(sizes, at::kByte);
  stream_.read(reinterpret_cast<char*>(images.mutable_data_ptr<uint8_t>()), wanted * each_);
  if (!stream_) throw Error(path_ + ": truncated while it was read");
  seen_ += wanted;
  return images;
}

}  // namespace vae
