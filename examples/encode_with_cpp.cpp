// Codes of a few images with a trained encoder, from C++:
//
//     python -m vae native build --copy-to native
//     torch=$(python -c 'import torch; print(torch.__path__[0])')
//     g++ -std=c++20 encode_with_cpp.cpp -Inative/include -I$torch/include -Lnative/lib -L$torch/lib \
//         -llatent_encoder -ltorch -ltorch_cpu -lc10 -Wl,-rpath,$PWD/native/lib:$torch/lib -o encode
//     ./encode encoder.ts images.npy
#include <ATen/ATen.h>
#include <latent_encoder.h>

#include <iostream>

int main(int, char** given) try {
  const vae::Encoder encoder(given[1]);
  vae::ImageFile file(given[2]);
  const at::Tensor images = file.read(3);  // uint8 [N, H, W]; a tensor of your own does as well
  const vae::Codes codes = encoder.encode(images);
  std::cout << encoder.label() << ": mean\n" << codes.mean << "\nlog-variance\n" << codes.log_variance << '\n';
} catch (const vae::Error& error) {
  std::cerr << error.what() << '\n';
  return 2;
}
