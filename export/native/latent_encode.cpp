// latent-encode: the codes of a file's images, with a trained encoder and without Python.

#include "latent_encoder.h"
#include "sizes.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <future>
#include <iostream>
#include <optional>
#include <system_error>
#include <thread>

namespace {

constexpr const char* USAGE =
    "latent-encode MODEL.ts IMAGES OUT.npy [--log-variance FILE.npy] [--batch N] [--device cpu|cuda] [--threads N]\n"
    "              [--overwrite]\n\n"
    "Writes the means of q(z|x) of the images, uint8 in IDX or .npy, as float32 [N, latent]; and their log-variances\n"
    "to another file, if it is named.\n";

struct Arguments {
  std::vector<std::string> places;
  std::string log_variance, device = "cpu";
  int64_t batch = 0;
  int threads = 0;
  bool overwrite = false;
};

int64_t positive(const std::string& option, const std::string& text) {
  size_t end = 0;
  int64_t value = 0;
  try {
    value = std::stoll(text, &end);
  } catch (const std::exception&) {
  }
  if (end != text.size() || value < 1 || value > 1 << 20)
    throw vae::Error(option + ": a number from 1 on, not " + text);
  return value;
}

Arguments parse(int count, char** values) {
  Arguments given;
  for (int i = 1; i < count; i++) {
    const std::string name = values[i];
    const auto value = [&]() -> std::string {
      if (++i >= count) throw vae::Error(name + ": a value is missing");
      return values[i];
    };
    if (name == "--log-variance") given.log_variance = value();
    else if (name == "--device") given.device = value();
    else if (name == "--batch") given.batch = positive(name, value());
    else if (name == "--threads") given.threads = static_cast<int>(positive(name, value()));
    else if (name == "--overwrite") given.overwrite = true;
    else if (name.starts_with("--")) throw vae::Error(name + ": no such option; see --help");
    else given.places.push_back(name);
  }
  if (given.places.size() != 3) throw vae::Error("a model, images and an output are expected; see --help");
  namespace fs = std::filesystem;
  if (!given.log_variance.empty() && fs::weakly_canonical(given.log_variance) == fs::weakly_canonical(given.places[2]))
    throw vae::Error("codes and log-variances need a file each");
  return given;
}

// Images read at once, of which two lots are in memory: some batches for every thread, or for the device.
int64_t chunk_size(const Arguments& arguments) {
  const int64_t threads = arguments.threads ? arguments.threads : std::thread::hardware_concurrency();
  return arguments.device == "cuda" ? 65536 : std::max<int64_t>(8192, 1024 * threads);
}

void check(const vae::ImageFile& images, const std::string& path, const vae::Encoder& encoder) {
  std::vector<int64_t> sizes = images.shape();
  sizes.insert(sizes.begin(), images.count());
  const std::string fault = vae::misfit(sizes, encoder.image_shape());
  if (!fault.empty()) throw vae::Error(path + ": " + fault);
}

// What is odd about images and their codes, to be said in a line once all are encoded.
struct Doubts {
  int64_t brightest = 0, not_finite = 0;

  void note(const at::Tensor& images, const vae::Codes& codes) {
    brightest = std::max(brightest, images.max().item<int64_t>());
    const at::Tensor finite = codes.mean.isfinite().all(1).logical_and(codes.log_variance.isfinite().all(1));
    not_finite += finite.logical_not().sum().item<int64_t>();
  }

  void warn(const std::string& path, int64_t count) const {
    const std::string begin = "latent-encode: WARNING: " + path + ": ";
    if (brightest == 1)
      std::cerr << begin << "the brightest pixel is 1, where white is 255; multiply images of 0 and 1\n";
    if (not_finite)
      std::cerr << begin << "codes of " << not_finite << " of " << count
                << " images are not finite; the model may have diverged\n";
  }
};

void encode(const Arguments& arguments) {
  const vae::Encoder encoder(arguments.places[0], arguments.device);
  vae::ImageFile images(arguments.places[1]);
  check(images, arguments.places[1], encoder);
  vae::CodeFile means(arguments.places[2], images.count(), encoder.latent_size(), arguments.overwrite);
  std::optional<vae::CodeFile> log_variances;
  if (!arguments.log_variance.empty())
    log_variances.emplace(arguments.log_variance, images.count(), encoder.latent_size(), arguments.overwrite);
  const auto begun = std::chrono::steady_clock::now();
  const int64_t size = chunk_size(arguments);
  Doubts doubts;
  at::Tensor chunk = images.read(size);
  while (chunk.size(0)) {
    auto next = std::async(std::launch::async, [&] { return images.read(size); });
    const vae::Codes codes = encoder.encode(chunk, arguments.threads, arguments.batch);
    doubts.note(chunk, codes);
    means.write(codes.mean);
    if (log_variances) log_variances->write(codes.log_variance);
    chunk = next.get();
  }
  if (log_variances) log_variances->finish();
  means.finish();
  doubts.warn(arguments.places[1], images.count());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
  std::cout << images.count() << " images in " << seconds.count() << " s, encoder " << encoder.label() << '\n';
}

}  // namespace

// 0; 2 for bad input, 1 for what the system refused, each with a line that says so.
int main(int count, char** values) {
  if (count == 2 && !std::strcmp(values[1], "--help")) {
    std::cout << USAGE;
    return 0;
  }
  try {
    vae::keep_memory();
    encode(parse(count, values));
    return 0;
  } catch (const vae::Error& error) {
    std::cerr << "latent-encode: ERROR: " << error.what() << '\n';
    return 2;
  } catch (const std::exception& error) {
    const std::string all = error.what();  // torch's go on with a backtrace
    std::cerr << "latent-encode: ERROR: " << all.substr(0, all.find('\n')) << '\n';
    return 1;
  }
}
