"""The training loop of `training.py` in JAX, as a peer: compiled, all data on the device, and buffers donated.

The models are those of `training.Stock`, weight by weight; maps are channels-last, as XLA's convolutions ask for.
"""

import os
from functools import partial
from itertools import pairwise
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
from training import EXTENTS, WIDE, Size

from vae.grid import Network, Spec

Weights = list[dict[str, jax.Array]]
PIXELS = 784


def weights(encoder: Network, decoder: Network, seed: int, size: Size = WIDE) -> dict[str, Weights]:
    """Weights of both sides by layer, uniform as torch draws them (variance 1 / (3 · inputs))."""
    channels, hidden, latent = size.channels, size.hidden_units, size.latent_size
    generator = np.random.default_rng(seed)

    def layer(shape: tuple[int, ...], inputs: int) -> dict[str, jax.Array]:
        bound = inputs**-0.5
        drawn = (generator.uniform(-bound, bound, size) for size in (shape, shape[-1:]))
        return {name: jnp.asarray(value, jnp.float32) for name, value in zip(("weight", "bias"), drawn, strict=True)}

    def dense(inputs: int, outputs: int) -> dict[str, jax.Array]:
        return layer((inputs, outputs), inputs)

    def convolution(inputs: int, outputs: int) -> dict[str, jax.Array]:
        return layer((5, 5, inputs, outputs), 25 * inputs)

    if encoder.family == "DNN":
        sizes = [PIXELS] + [hidden] * encoder.depth
        body = [dense(*pair) for pair in pairwise(sizes)]
        features = hidden
    else:
        body = [convolution(channels[i], channels[i + 1]) for i in range(encoder.depth)]
        features = channels[encoder.depth] * EXTENTS[encoder.depth] ** 2
    if decoder.family == "DNN":
        sizes = [latent] + [hidden] * decoder.depth + [PIXELS]
        of_decoder = [dense(*pair) for pair in pairwise(sizes)]
    else:
        of_decoder = [dense(latent, channels[decoder.depth] * EXTENTS[decoder.depth] ** 2)]
        of_decoder += [convolution(channels[i + 1], channels[i]) for i in reversed(range(decoder.depth))]
    return {"encoder": [*body, dense(features, 2 * latent)], "decoder": of_decoder}


def _leaky(values: jax.Array) -> jax.Array:
    return jax.nn.leaky_relu(values, 0.01)


def _dense(layer: dict[str, jax.Array], rows: jax.Array) -> jax.Array:
    return rows @ layer["weight"] + layer["bias"]


def _convolution(
    layer: dict[str, jax.Array], maps: jax.Array, stride: int, dilation: int, padding: tuple[int, int]
) -> jax.Array:
    return layer["bias"] + jax.lax.conv_general_dilated(
        maps, layer["weight"], (stride, stride), [padding, padding], lhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def encode(encoder: Network, layers: Weights, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log-variance of images `[B, 28, 28, 1]`."""
    *body, heads = layers
    maps = images.reshape(len(images), -1) if encoder.family == "DNN" else images
    for layer in body:
        maps = _leaky(_dense(layer, maps) if encoder.family == "DNN" else _convolution(layer, maps, 2, 1, (2, 2)))
    mean, log_variance = jnp.split(_dense(heads, maps.reshape(len(images), -1)), 2, axis=1)
    return mean, log_variance


def decode(decoder: Network, layers: Weights, codes: jax.Array) -> jax.Array:
    """Logits `[B, 28, 28, 1]` of codes."""
    maps = _dense(layers[0], codes)
    if decoder.family == "CNN":
        side = EXTENTS[decoder.depth]
        maps = maps.reshape(len(codes), side, side, -1)
    for place, layer in enumerate(layers[1:]):
        maps = _leaky(maps)
        if decoder.family == "DNN":
            maps = _dense(layer, maps)
        else:
            # A transposed convolution is that of the map with zeros between its values.
            wanted = EXTENTS[decoder.depth - place - 1]
            maps = _convolution(layer, maps, 1, 2, (2, 2 + 1 - wanted % 2))
    return maps.reshape(len(codes), 28, 28, 1)


def loss(networks: tuple[Network, Network], both: dict[str, Weights], images: jax.Array, noise: jax.Array) -> jax.Array:
    """The loss that `training.stock` minimises, for images in [0, 1]."""
    mean, log_variance = encode(networks[0], both["encoder"], images)
    logits = decode(networks[1], both["decoder"], mean + noise * jnp.exp(0.5 * log_variance))
    reconstruction = optax.sigmoid_binary_cross_entropy(logits, images).mean()
    return reconstruction - 0.5 * jnp.mean(1 + log_variance - mean**2 - jnp.exp(log_variance))


def training(networks: tuple[Network, Network], size: Size = WIDE):
    """Adam, and a function that trains an epoch.

    Dense models are trained in one compiled call an epoch, convolutional ones in one a batch: within a scan, XLA
    computes convolutions far slower on a CPU.
    """
    optimizer = optax.adam(1e-3)

    def step(carry, batch):
        both, state, images = carry
        chosen, key = batch
        inputs = images[chosen][..., None].astype(jnp.float32) / 255
        noise = jax.random.normal(key, (size.batch, size.latent_size))
        gradients = jax.grad(partial(loss, networks))(both, inputs, noise)
        updates, state = optimizer.update(gradients, state)
        return (optax.apply_updates(both, updates), state, images), None

    def draws(key, count):
        order_key, noise_key = jax.random.split(key)
        order = jax.random.permutation(order_key, count)[: count // size.batch * size.batch].reshape(-1, size.batch)
        return order, jax.random.split(noise_key, len(order))

    @partial(jax.jit, donate_argnums=0)
    def scanned(carry, key):
        return jax.lax.scan(step, carry, draws(key, len(carry[-1])))[0]

    compiled = jax.jit(step, donate_argnums=0)

    def in_turn(carry, key):
        for batch in zip(*draws(key, len(carry[-1])), strict=True):
            carry, _ = compiled(carry, batch)
        return carry

    return optimizer, in_turn if "CNN" in {network.family for network in networks} else scanned


def rate(label: str, images: np.ndarray, size: Size, threads: int) -> float:
    """Images per second of an epoch, after one that compiles; `images` are `uint8 [N, 28, 28]`."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    spec = Spec.parse(label)
    networks = spec.encoder, spec.decoder
    both = weights(*networks, 0, size)
    optimizer, train = training(networks, size)
    carry = both, optimizer.init(both), jnp.asarray(images)
    for seed in range(2):
        start = perf_counter()
        carry = jax.block_until_ready(train(carry, jax.random.key(seed)))
    return len(images) // size.batch * size.batch / (perf_counter() - start)
