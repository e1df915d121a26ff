// The C library's memory, as keep_memory of latent_encoder.h sets it.
#include "latent_encoder.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace vae {

void keep_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 1 << 26);
#endif
}

}  // namespace vae
