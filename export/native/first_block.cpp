// Libraries of convolutions are made for many input channels and reach a quarter of the machine's rate from one. In the
// kernel here output channels lie in the lanes of vectors, and a row of neighbouring positions in registers, so that a
// weight is loaded once for all of them.
#include "first_block.h"

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

namespace vae {
#ifdef __AVX512F__
namespace {

constexpr int LANES = 16, POSITIONS = 7;
typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));

// Strides of the sums below: rows of the kernel and taps in each, then floats from a row of the image to the next, from
// a position to the next in the image and in the result, and from the weights of a tap to those of the next.
struct Strides {
  int64_t rows, taps, pitch, position, result, weights;
};

Vector load(const float* from) {
  Vector lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
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

}  // namespace

std::optional<Step> first_block(const at::Tensor& weight, const at::Tensor& bias, int64_t stride, int64_t padding,
                                float slope) {
  if (weight.size(0) < LANES) return std::nullopt;
  return FirstBlock(weight, bias, stride, padding, slope);
}

#else

std::optional<Step> first_block(const at::Tensor&, const at::Tensor&, int64_t, int64_t, float) { return std::nullopt; }

#endif

}  // namespace vae
