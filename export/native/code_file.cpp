// The class CodeFile of latent_encoder.h.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <system_error>

#include "latent_encoder.h"

namespace vae {

CodeFile::CodeFile(const std::string& path, int64_t count, int64_t columns, bool overwrite)
    : path_(path), missing_(count), columns_(columns) {
  if (!path.ends_with(".npy")) throw Error(path + ": codes are written as .npy");
  if (!overwrite && std::filesystem::exists(path))
    throw Error(path + ": exists; choose another name, or allow to overwrite it");
  const std::filesystem::path target(path);
  const std::string stem = target.stem();
  partial_ = target.parent_path() / ('.' + stem + '.' + std::to_string(getpid()) + ".npy");
  stream_.open(partial_, std::ios::binary);
  if (!stream_) throw std::system_error(errno, std::generic_category(), path);
  std::ostringstream facts;
  facts << "{'descr': '<f4', 'fortran_order': False, 'shape': (" << count << ", " << columns << "), }";
  std::string header = facts.str();
  header.resize((header.size() + 11 + 63) / 64 * 64 - 11, ' ');  // magic, length, header and newline end at 64 bytes
  header += '\n';
  const char length[2] = {static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  stream_.write("\x93NUMPY\x01\x00", 8).write(length, 2).write(header.data(), header.size());
}

CodeFile::~CodeFile() {
  if (!partial_.empty()) std::remove(partial_.c_str());
}

void CodeFile::write(const at::Tensor& rows) {
  if (rows.scalar_type() != at::kFloat || rows.dim() != 2 || rows.size(1) != columns_ || rows.size(0) > missing_)
    throw Error(path_ + ": rows are float32 of " + std::to_string(columns_) + " columns, as many as were promised");
  missing_ -= rows.size(0);
  const at::Tensor contiguous = rows.contiguous();
  stream_.write(reinterpret_cast<const char*>(contiguous.const_data_ptr<float>()), contiguous.nbytes());
  if (!stream_) throw std::system_error(errno, std::generic_category(), path_);
}

void CodeFile::finish() {
  if (missing_) throw Error(path_ + ": " + std::to_string(missing_) + " rows are missing");
  stream_.close();
  if (!stream_ || std::rename(partial_.c_str(), path_.c_str()))
    throw std::system_error(errno, std::generic_category(), path_);
  partial_.clear();
}

}  // namespace vae
