#include "latent_encoder.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/Event.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/custom_class.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace vae {
namespace {

// Images computed at once on one CPU thread: activations stay in its cache. On a GPU: enough to fill it.
constexpr int64_t CPU_BATCH = 128, GPU_BATCH = 16384;

std::string text(at::IntArrayRef sizes) {
  std::ostringstream out;
  out << sizes;
  return out.str();
}

int64_t product(at::IntArrayRef sizes) {
  int64_t all = 1;
  for (int64_t size : sizes) all *= size;
  return all;
}

// ---- The first convolution -------------------------------------------------------------------------------------------
//
// Libraries of convolutions are made for many input channels and reach a quarter of the machine's rate from one. This
// kernel takes grey levels to the activations of the first block, channels-last: output channels lie in the lanes of
// vectors, and a row of neighbouring positions in registers, so that a weight is loaded once for all of them.

#ifdef __AVX512F__
constexpr int LANES = 16, POSITIONS = 7;
#else
constexpr int LANES = 8, POSITIONS = 5;
#endif
typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));

// Strides of the sums below: rows of the kernel and taps in each, then floats from a row of the image to the next, from
// a position to the next in the image and in the result, and from the weights of a tap to those of the next.
struct Strides {
  int64_t rows, taps, pitch, position, result, weights;
};

Vector load(const float* from) {
  Vector found;
  std::memcpy(&found, from, sizeof found);
  return found;
}

void store(Vector value, float* to) { std::memcpy(to, &value, sizeof value); }

Vector leaky(Vector sum, float slope) {
  const Vector least = sum * slope;
  return sum > 0 ? sum : least;
}

// Activations of P neighbouring positions, V vectors of channels each.
//
// In a function of its own, and every index a constant and not a loop's: only then does g++ keep the sums in registers,
// which makes it two to four times as fast.
template <int V, size_t... I>
__attribute__((noinline)) void activations(const float* in, const float* weights, const float* bias, float slope,
                                           const Strides& given, float* out, std::index_sequence<I...>) {
  const Strides by = given;
  Vector sums[] = {load(bias + I % V * LANES)...};
  for (int64_t row = 0; row < by.rows; row++, in += by.pitch)
    for (int64_t tap = 0; tap < by.taps; tap++, weights += by.weights)
      ((sums[I] += load(weights + I % V * LANES) * in[I / V * by.position + tap]), ...);
  (store(leaky(sums[I], slope), out + I / V * by.result + I % V * LANES), ...);
}

class FirstBlock {
 public:
  FirstBlock(const at::Tensor& weight, const at::Tensor& bias, int64_t stride, int64_t padding, float slope)
      : outputs_(weight.size(0)),
        inputs_(weight.size(1)),
        kernel_(weight.size(2)),
        stride_(stride),
        padding_(padding),
        slope_(slope),
        vectors_((outputs_ + LANES - 1) / LANES) {
    // [ky, kx, input, output], the outputs filled up with zeros to whole vectors
    const int64_t missing = vectors_ * LANES - outputs_;
    weights_ = at::constant_pad_nd(weight.permute({2, 3, 1, 0}), {0, missing}).contiguous();
    bias_ = at::constant_pad_nd(bias, {0, missing}).contiguous();
  }

  // Images uint8 [B, C, H, W] to [B, C', H', W'], channels-last.
  at::Tensor operator()(const at::Tensor& images, at::Tensor& out) const {
    const int64_t count = images.size(0), height = images.size(2), width = images.size(3);
    const int64_t rows = (height + 2 * padding_ - kernel_) / stride_ + 1;
    const int64_t columns = (width + 2 * padding_ - kernel_) / stride_ + 1;
    if (!out.defined() || out.size(0) != count) out = at::empty({count, rows, columns, outputs_}, at::kFloat);
    const int64_t pitch = (width + 2 * padding_) * inputs_;
    std::vector<float> padded((height + 2 * padding_) * pitch, 0.0f);
    const at::Tensor bytes = images.contiguous();
    const uint8_t* image = bytes.const_data_ptr<uint8_t>();
    float* target = out.mutable_data_ptr<float>();
    for (int64_t i = 0; i < count; i++, image += inputs_ * height * width) {
      widen(image, height, width, padded.data() + padding_ * (pitch + inputs_), pitch);
      for (int64_t y = 0; y < rows; y++, target += columns * outputs_)
        row(padded.data() + y * stride_ * pitch, pitch, columns, target);
    }
    return out.permute({0, 3, 1, 2});
  }

 private:
  // Grey levels as floats, channels last.
  void widen(const uint8_t* image, int64_t height, int64_t width, float* to, int64_t pitch) const {
    for (int64_t channel = 0; channel < inputs_; channel++)
      for (int64_t y = 0; y < height; y++, image += width) {
        float* row = to + y * pitch + channel;
        if (inputs_ == 1) {
          for (int64_t x = 0; x < width; x++) row[x] = image[x];
        } else {
          for (int64_t x = 0; x < width; x++) row[x * inputs_] = image[x];
        }
      }
  }

  void row(const float* in, int64_t pitch, int64_t columns, float* out) const {
    int64_t x = 0;
    for (; x + POSITIONS <= columns; x += POSITIONS) positions<POSITIONS>(in, pitch, x, out);
    for (; x < columns; x++) positions<1>(in, pitch, x, out);
  }

  // P neighbouring positions from column x on.
  template <int P>
  void positions(const float* in, int64_t pitch, int64_t x, float* out) const {
    for (int64_t vector = 0; vector < vectors_;) {
      const int64_t channel = vector * LANES;
      if (channel + 2 * LANES <= outputs_) {
        block<P, 2>(in, pitch, x, channel, out + x * outputs_ + channel, outputs_);
        vector += 2;
      } else if (channel + LANES <= outputs_) {
        block<P, 1>(in, pitch, x, channel, out + x * outputs_ + channel, outputs_);
        vector += 1;
      } else {  // the last channels fill a part of a vector
        float whole[P * LANES];
        block<P, 1>(in, pitch, x, channel, whole, LANES);
        for (int p = 0; p < P; p++)
          std::memcpy(out + (x + p) * outputs_ + channel, whole + p * LANES, (outputs_ - channel) * sizeof(float));
        vector += 1;
      }
    }
  }

  template <int P, int V>
  void block(const float* in, int64_t pitch, int64_t x, int64_t channel, float* out, int64_t result) const {
    const Strides by{kernel_, kernel_ * inputs_, pitch, stride_ * inputs_, result, vectors_ * LANES};
    activations<V>(in + x * by.position, weights_.const_data_ptr<float>() + channel,
                   bias_.const_data_ptr<float>() + channel, slope_, by, out, std::make_index_sequence<P * V>());
  }

  int64_t outputs_, inputs_, kernel_, stride_, padding_;
  float slope_;
  int64_t vectors_;
  at::Tensor weights_, bias_;
};

// ---- The steps of a graph --------------------------------------------------------------------------------------------

// From the result of the step before; `own` is the step's memory from one batch to the next, on one thread.
using Step = std::function<at::Tensor(const at::Tensor& in, at::Tensor& own)>;

struct Operation {
  std::string name;
  std::vector<at::IValue> constants;
};

// Whether the parts of a split, in their order, are what a graph returns.
bool unpacked(const torch::jit::Value& split, const torch::jit::Graph& graph) {
  const torch::jit::Node* result = graph.outputs()[0]->node();
  if (split.node()->kind() != at::aten::split || split.uses().size() != 1) return false;
  const torch::jit::Node* parts = split.uses()[0].user;
  return parts->kind() == at::prim::ListUnpack && result->kind() == at::prim::TupleConstruct &&
         std::ranges::equal(parts->outputs(), result->inputs());
}

// The operations of a frozen graph that is a chain from the images to a split in two; nothing where it is not.
std::optional<std::vector<Operation>> chain(const torch::jit::Graph& graph) {
  std::vector<Operation> found;
  const torch::jit::Value* last = graph.inputs().back();
  for (const torch::jit::Node* node : graph.nodes()) {
    if (node->kind() == at::prim::Constant) continue;
    Operation operation{node->kind().toQualString(), {}};
    int from_last = 0;
    for (const torch::jit::Value* input : node->inputs()) {
      if (input == last) {
        from_last++;
      } else if (const auto constant = torch::jit::toIValue(input)) {
        operation.constants.push_back(*constant);
      } else {
        return std::nullopt;
      }
    }
    if (from_last != 1 || last->uses().size() != 1 || node->outputs().size() != 1) return std::nullopt;
    found.push_back(std::move(operation));
    last = node->output();
    if (found.back().name == "aten::split") break;
  }
  return unpacked(*last, graph) ? std::optional(found) : std::nullopt;
}

bool same(const std::vector<int64_t>& values, int64_t value) {
  return std::all_of(values.begin(), values.end(), [=](int64_t one) { return one == value; });
}

// The first block that begins at operation `i`, if it is one that the kernel is for: few input channels, a square kernel.
std::optional<Step> first_block(const std::vector<Operation>& operations, size_t i) {
  if (i + 2 >= operations.size() || operations[i].name != "aten::to" ||
      operations[i + 1].name != "aten::_convolution" || operations[i + 2].name != "aten::leaky_relu_")
    return std::nullopt;
  const auto& types = operations[i].constants;
  if (!types[0].isInt() || types[0].toInt() != static_cast<int64_t>(at::kFloat)) return std::nullopt;
  const auto& values = operations[i + 1].constants;
  const at::Tensor weight = values[0].toTensor();
  const std::vector<int64_t> stride = values[2].toIntVector(), padding = values[3].toIntVector();
  const bool plain = same(values[4].toIntVector(), 1) && !values[5].toBool() && values[7].toInt() == 1;
  if (!plain || !values[1].isTensor() || weight.dim() != 4 || weight.size(1) > 4 || weight.size(2) != weight.size(3) ||
      !same(stride, stride[0]) || !same(padding, padding[0]))
    return std::nullopt;
  const float slope = operations[i + 2].constants[0].toDouble();
  return FirstBlock(weight, values[1].toTensor(), stride[0], padding[0], slope);
}

std::optional<Step> step(const Operation& operation) {
  const auto& [name, c] = operation;
  using at::Tensor;
  if (name == "aten::unsqueeze")
    return [dim = c[0].toInt()](const Tensor& in, Tensor&) { return in.unsqueeze(dim); };
  if (name == "aten::flatten")
    return [from = c[0].toInt(), to = c[1].toInt()](const Tensor& in, Tensor&) { return in.flatten(from, to); };
  if (name == "aten::permute")
    return [dims = c[0].toIntVector()](const Tensor& in, Tensor&) { return in.permute(dims); };
  if (name == "aten::to" && c[0].isInt() && c[0].toInt() == static_cast<int64_t>(at::kFloat))
    return [](const Tensor& in, Tensor& own) {
      if (!own.defined() || own.sizes() != in.sizes()) own = at::empty(in.sizes(), at::kFloat);
      return own.copy_(in);
    };
  if (name == "aten::leaky_relu_")
    return [slope = c[0].toScalar()](const Tensor& in, Tensor&) {
      Tensor same = in;
      return at::leaky_relu_(same, slope);
    };
  if (name == "aten::_convolution")
    return [c](const Tensor& in, Tensor&) {
      return at::convolution(in, c[0].toTensor(), c[1].toOptional<Tensor>(), c[2].toIntVector(), c[3].toIntVector(),
                             c[4].toIntVector(), c[5].toBool(), c[6].toIntVector(), c[7].toInt());
    };
  if (name == "aten::addmm" && c[2].toScalar().equal(1) && c[3].toScalar().equal(1))
    return [bias = c[0].toTensor(), weight = c[1].toTensor()](const Tensor& in, Tensor& own) {
      if (!own.defined() || own.size(0) != in.size(0)) own = at::empty({in.size(0), weight.size(1)}, at::kFloat);
      return at::addmm_out(own, bias, in, weight);
    };
  return std::nullopt;
}

// What to do with a batch, step by step, the last giving mean and log-variance side by side; nothing for a graph that
// is not made of layers that are known here, which TorchScript runs.
std::vector<Step> plan(const torch::jit::Graph& graph, int64_t latent_size) {
  const auto operations = chain(graph);
  std::vector<Step> steps;
  if (!operations || operations->back().constants[0].toInt() != latent_size ||
      operations->back().constants[1].toInt() != 1)
    return {};
  for (size_t i = 0; i + 1 < operations->size(); i++) {
    if (auto block = first_block(*operations, i)) {
      steps.push_back(*block);
      i += 2;
    } else if (auto one = step((*operations)[i])) {
      steps.push_back(*one);
    } else {
      return {};
    }
  }
  return steps;
}

// torch computes on the calling thread alone while this lives: threads work on batches of their own.
struct OneThread {
  int before = at::get_num_threads();
  OneThread() { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before); }
};

}  // namespace

// ---- Encoder ---------------------------------------------------------------------------------------------------------

struct Encoder::Parts {
  torch::jit::Module module;
  c10::Device device = c10::kCPU;
  std::vector<int64_t> image_shape;
  int64_t latent_size = 0;
  std::string label;
  std::vector<Step> steps;            // on a CPU
  std::vector<c10::Stream> streams;  // on a GPU: for copying to it, and for computing

  Codes forward(const at::Tensor& images) const {
    const auto codes = torch::jit::Method(module.get_method("forward"))({images}).toTupleRef().elements().vec();
    return {codes[0].toTensor(), codes[1].toTensor()};
  }

  Codes batch(const at::Tensor& images, std::vector<at::Tensor>& memory) const {
    if (steps.empty()) return forward(images);
    at::Tensor result = images;
    for (size_t i = 0; i < steps.size(); i++) result = steps[i](result, memory[i]);
    return {result.narrow(1, 0, latent_size), result.narrow(1, latent_size, latent_size)};
  }

  void on_cpu(const at::Tensor& images, const Codes& codes, int threads, int64_t size) const {
    const OneThread one;
    std::atomic<int64_t> next = 0;
    std::exception_ptr failure;
    std::mutex failing;
    const auto work = [&] {
      try {
        at::set_num_threads(1);  // OpenMP counts for each thread apart
        const c10::InferenceMode inference;
        std::vector<at::Tensor> memory(steps.size());
        for (int64_t start; (start = next.fetch_add(size)) < images.size(0);) {
          const int64_t count = std::min(size, images.size(0) - start);
          const Codes found = batch(images.narrow(0, start, count), memory);
          codes.mean.narrow(0, start, count).copy_(found.mean);
          codes.log_variance.narrow(0, start, count).copy_(found.log_variance);
        }
      } catch (...) {
        const std::lock_guard lock(failing);
        failure = std::current_exception();
      }
    };
    std::vector<std::thread> others;
    const int64_t most = (images.size(0) + size - 1) / size;
    try {
      for (int64_t i = 1; i < std::min<int64_t>(threads, most); i++) others.emplace_back(work);
    } catch (const std::system_error&) {
      // The system gives no more threads: those that there are take the work.
    }
    work();
    for (std::thread& other : others) other.join();
    if (failure) std::rethrow_exception(failure);
  }

  // Two slots take turns: while one batch is computed, the next is copied to the device on a stream of its own.
  void on_gpu(const at::Tensor& images, const Codes& codes, int64_t size) const {
    const c10::InferenceMode inference;
    const c10::impl::VirtualGuardImpl gpu(device.type());
    const c10::Stream &copying = streams[0], &computing = streams[1];
    struct Slot {
      at::Tensor staged, images;
      Codes codes;
      c10::Event arrived, done;
      int64_t start = 0, count = 0;
    };
    std::vector<int64_t> shape = image_shape;
    shape.insert(shape.begin(), size);
    const auto pinned = at::TensorOptions().pinned_memory(true);
    const auto slot = [&] {
      return Slot{at::empty(shape, pinned.dtype(at::kByte)), at::empty(shape, at::TensorOptions(device).dtype(at::kByte)),
                  {at::empty({size, latent_size}, pinned.dtype(at::kFloat)),
                   at::empty({size, latent_size}, pinned.dtype(at::kFloat))},
                  c10::Event(device.type()), c10::Event(device.type())};
    };
    std::array<Slot, 2> slots{slot(), slot()};
    // Their memory comes from the caller's stream, where its last use may not be over; and it goes back there, whatever
    // happens, only when the streams here are done with it.
    c10::Event ready(device.type());
    ready.record(gpu.getStream(device));
    ready.block(copying);
    ready.block(computing);
    struct Finish {
      const c10::impl::VirtualGuardImpl& gpu;
      const std::vector<c10::Stream>& streams;
      ~Finish() {
        for (const c10::Stream& stream : streams) gpu.synchronizeStream(stream);
      }
    } finish{gpu, streams};
    const auto collect = [&](Slot& from) {
      if (!from.count) return;
      from.done.synchronize();
      codes.mean.narrow(0, from.start, from.count).copy_(from.codes.mean.narrow(0, 0, from.count));
      codes.log_variance.narrow(0, from.start, from.count).copy_(from.codes.log_variance.narrow(0, 0, from.count));
      from.count = 0;
    };
    const bool staging = !images.is_pinned();
    int turn = 0;
    for (int64_t start = 0; start < images.size(0); start += size, turn ^= 1) {
      Slot& own = slots[turn];
      collect(own);
      own.start = start;
      own.count = std::min(size, images.size(0) - start);
      at::Tensor from = images.narrow(0, start, own.count);
      if (staging) from = own.staged.narrow(0, 0, own.count).copy_(from);
      const at::Tensor here = own.images.narrow(0, 0, own.count);
      {
        const c10::StreamGuard guard(copying);
        here.copy_(from, /*non_blocking=*/true);
        own.arrived.record(copying);
      }
      const c10::StreamGuard guard(computing);
      own.arrived.block(computing);
      const Codes found = forward(here);
      own.codes.mean.narrow(0, 0, own.count).copy_(found.mean, true);
      own.codes.log_variance.narrow(0, 0, own.count).copy_(found.log_variance, true);
      own.done.record(computing);
    }
    collect(slots[turn]);
    collect(slots[turn ^ 1]);
  }
};

Encoder::Encoder(const std::string& script, const std::string& device) : parts_(std::make_unique<Parts>()) {
  if (device != "cpu" && device != "cuda") throw Error("device " + device + " is not known; known are cpu, cuda");
  if (device == "cuda" && !at::hasCUDA()) throw Error("device cuda: torch sees no GPU here");
  if (!std::filesystem::is_regular_file(script)) throw Error(script + ": no such file; give an encoder.ts");
  parts_->device = device == "cpu" ? c10::Device(c10::kCPU) : c10::Device(c10::kCUDA, 0);
  torch::jit::ExtraFilesMap facts{{"side", ""}, {"image_shape", ""}, {"latent_size", ""}, {"label", ""}};
  try {
    parts_->module = torch::jit::load(script, parts_->device, facts);
    parts_->module.eval();
    parts_->module = torch::jit::freeze(parts_->module);
  } catch (const std::exception&) {
    throw Error(script + ": not a TorchScript file, or damaged");
  }
  if (facts["side"] != "encoder" || facts["image_shape"].empty() || facts["latent_size"].empty())
    throw Error(script + ": not an encoder of this package");
  std::istringstream shape(facts["image_shape"]);
  for (int64_t size; shape >> size;) parts_->image_shape.push_back(size);
  std::istringstream(facts["latent_size"]) >> parts_->latent_size;
  parts_->label = facts["label"];
  if (device == "cpu") {
    parts_->steps = plan(*parts_->module.get_method("forward").graph(), parts_->latent_size);
  } else {
    const c10::impl::VirtualGuardImpl gpu(parts_->device.type());
    for (int i = 0; i < 2; i++) parts_->streams.push_back(gpu.getStreamFromGlobalPool(parts_->device));
  }
}

Encoder::~Encoder() = default;

Codes Encoder::encode(const at::Tensor& images, int threads, int64_t batch) const {
  const std::vector<int64_t>& shape = parts_->image_shape;
  if (!images.defined() || !images.device().is_cpu()) throw Error("images are a tensor on the CPU");
  if (images.scalar_type() != at::kByte) throw Error("images are uint8 from 0 to 255, as they are");
  if (images.dim() < 2 || (images.sizes().slice(1) != at::IntArrayRef(shape) &&
                           images.sizes().slice(1) != at::IntArrayRef{product(shape)}))
    throw Error("images are " + text(images.sizes().slice(std::min<int64_t>(1, images.dim()))) +
                ", the encoder takes " + text(shape));
  std::vector<int64_t> sizes = shape;
  sizes.insert(sizes.begin(), images.size(0));
  const at::Tensor shaped = images.contiguous().reshape(sizes);
  const Codes codes{at::empty({images.size(0), latent_size()}, at::kFloat),
                    at::empty({images.size(0), latent_size()}, at::kFloat)};
  const int64_t usual = parts_->device.is_cpu() ? CPU_BATCH : GPU_BATCH;
  const int64_t size = std::clamp<int64_t>(batch > 0 ? batch : usual, 1, std::max<int64_t>(1, images.size(0)));
  if (parts_->device.is_cpu()) {
    const int all = std::max(1u, std::thread::hardware_concurrency());
    parts_->on_cpu(shaped, codes, threads > 0 ? threads : all, size);
  } else {
    parts_->on_gpu(shaped, codes, size);
  }
  return codes;
}

const std::vector<int64_t>& Encoder::image_shape() const { return parts_->image_shape; }
int64_t Encoder::latent_size() const { return parts_->latent_size; }
const std::string& Encoder::label() const { return parts_->label; }

// ---- Files -----------------------------------------------------------------------------------------------------------

ImageFile::ImageFile(const std::string& path) : path_(path) {
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
  if (!there) throw Error(path + ": holds no images");
  each_ = product(shape_);
}

void ImageFile::read_idx() {
  std::array<uint8_t, 4> magic{};
  stream_.read(reinterpret_cast<char*>(magic.data()), magic.size());
  if (!stream_ || magic[0] || magic[1] || magic[2] != 0x08 || magic[3] < 2)
    throw Error(path_ + ": not an IDX file of images (unsigned bytes, at least two dimensions)");
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
  if (!value("descr").starts_with("'|u1'") || !value("fortran_order").starts_with("False"))
    throw Error(path_ + ": images are uint8 [N, ...], not " + value("descr").substr(0, 5) + "; or it is in Fortran order");
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
  const at::Tensor own = rows.contiguous();
  stream_.write(reinterpret_cast<const char*>(own.const_data_ptr<float>()), own.nbytes());
  if (!stream_) throw std::system_error(errno, std::generic_category(), path_);
}

void CodeFile::finish() {
  if (missing_) throw Error(path_ + ": " + std::to_string(missing_) + " rows are missing");
  stream_.close();
  if (!stream_ || std::rename(partial_.c_str(), path_.c_str()))
    throw std::system_error(errno, std::generic_category(), path_);
  partial_.clear();
}

void keep_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 1 << 26);
#endif
}

}  // namespace vae

// ---- Python ----------------------------------------------------------------------------------------------------------

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
