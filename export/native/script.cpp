#include "script.h"

#include <torch/csrc/jit/serialization/import.h>

#include <filesystem>
#include <sstream>

namespace vae {

Codes Script::forward(const at::Tensor& images) const {
  const auto codes = torch::jit::Method(module.get_method("forward"))({images}).toTupleRef().elements().vec();
  return {codes[0].toTensor(), codes[1].toTensor()};
}

Script read_script(const std::string& path, c10::Device device) {
  if (!std::filesystem::is_regular_file(path)) throw Error(path + ": no such file; give an encoder.ts");
  Script script;
  script.device = device;
  torch::jit::ExtraFilesMap facts{{"side", ""}, {"image_shape", ""}, {"latent_size", ""}, {"label", ""}};
  try {
    script.module = torch::jit::load(path, device, facts);
    script.module.eval();
    script.module = torch::jit::freeze(script.module);
  } catch (const std::exception&) {
    throw Error(path + ": not a TorchScript file, or damaged");
  }
  if (facts["side"] != "encoder" || facts["image_shape"].empty() || facts["latent_size"].empty())
    throw Error(path + ": not an encoder of this package");
  std::istringstream shape(facts["image_shape"]);
  for (int64_t size; shape >> size;) script.image_shape.push_back(size);
  std::istringstream(facts["latent_size"]) >> script.latent_size;
  script.label = facts["label"];
  return script;
}

}  // namespace vae
