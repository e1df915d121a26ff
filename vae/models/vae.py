"""The VAE: one encoder and one decoder of the families around a diagonal Gaussian code."""

import torch
from torch import Tensor, nn

from vae.errors import UserError
from vae.grid import Network, Spec, expand, variants, varied
from vae.models.families import FAMILIES, Shape
from vae.models.initialisation import HEADS, LOGITS, initialise
from vae.models.networks import Networks, sized
from vae.models.own import FILES, described


class Encoder(nn.Module):
    """A family's encoder with its heads: images `[B, C, H, W]` to mean and log-variance, each `[B, latent_size]`."""

    def __init__(self, body: nn.Module, features: int, latent_size: int):
        super().__init__()
        self.body = body
        self.heads = nn.Linear(features, 2 * latent_size)
        self.latent_size = latent_size

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.heads(self.body(images)).split(self.latent_size, dim=1)
        return mean, log_variance


def encoder(network: Network, latent_size: int, planes: Shape, widths: Networks) -> Encoder:
    """An encoder for images `(C, H, W)`; UserError where it cannot have the parameters that are asked for."""

    def make(widths: Networks) -> Encoder:
        body, features = FAMILIES[network.family].encoder(network.depth, planes, widths)
        if widths.projection and network.depth:
            body = nn.Sequential(body, nn.Linear(features, widths.projection), nn.LeakyReLU(inplace=True))
            features = widths.projection
        return Encoder(body, features, latent_size)

    built = sized(make, widths, widths.encoder_parameters, f"{network} at latent size {latent_size}")
    initialise(built, widths.initialisation, HEADS)
    return built


def decoder(network: Network, latent_size: int, planes: Shape, widths: Networks) -> nn.Module:
    """A decoder for images `(C, H, W)`; UserError where it cannot have the parameters that are asked for."""

    def make(widths: Networks) -> nn.Module:
        return FAMILIES[network.family].decoder(network.depth, latent_size, planes, widths)

    built = sized(make, widths, widths.decoder_parameters, f"{network} at latent size {latent_size}")
    initialise(built, widths.initialisation, LOGITS)
    return built


class VAE(nn.Module):
    """One encoder and one decoder around a diagonal Gaussian code.

    `encoder` takes images in [0, 1], `[B, C, H, W]`, to mean and log-variance of q(z|x), each `[B, latent_size]`;
    `decoder` takes codes to logits of p(x|z), `[B, C, H, W]`. The whole takes images and standard normal noise,
    `[..., B, latent_size]`, to mean, log-variance and the logits of as many sampled codes, `[..., B, C, H, W]`.
    """

    def __init__(self, spec: Spec, image_shape: tuple[int, ...], widths: Networks):
        super().__init__()
        check(spec.encoder, image_shape)
        check(spec.decoder, image_shape)
        planes = to_planes(image_shape)
        self.latent_size = spec.latent_size
        self.encoder = encoder(spec.encoder, spec.latent_size, planes, widths)
        self.decoder = decoder(spec.decoder, spec.latent_size, planes, widths)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(images)
        codes = sample(mean, log_variance, noise)
        logits = self.decoder(codes.flatten(end_dim=-2))
        return mean, log_variance, logits.unflatten(0, codes.shape[:-1])


def sample(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """z = mean + exp(log_variance / 2) · noise, the reparameterised sample of q(z|x), all `[..., B, latent_size]`."""
    return mean + (log_variance / 2).exp() * noise


def parameters(module: nn.Module) -> int:
    """Number of trained values of an encoder, heads included, or of a decoder."""
    return sum(p.numel() for p in module.parameters())


def build(spec: Spec, image_shape: tuple[int, ...], widths: Networks, seed: int) -> VAE:
    """A model with initial weights drawn from `seed` alone; the CPU's generator is left as it was.

    Raises UserError where the family is unknown or too deep for the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(spec, image_shape, widths)


def check(network: Network, image_shape: tuple[int, ...]) -> None:
    """Raise UserError unless `network` can be built for images of this shape."""
    family = FAMILIES[network.family]
    shallowest, deepest = (
        Network(network.family, n) for n in (family.shallowest, family.deepest(to_planes(image_shape)))
    )
    size = "×".join(map(str, image_shape))
    if network.depth < shallowest.depth:
        raise UserError(f"{network}: has no depth; {shallowest} is the shallowest {network.family}")
    if network.depth > deepest.depth:
        raise UserError(f"{network}: too deep; {deepest} is the deepest {network.family} for images of {size}")


def to_planes(image_shape: tuple[int, ...]) -> Shape:
    """`(H, W)` or `(C, H, W)` as `(C, H, W)`."""
    channels, height, width = (1, *image_shape) if len(image_shape) == 2 else image_shape
    return channels, height, width


def as_planes(images: Tensor) -> Tensor:
    """Images `uint8 [B, H, W]` or `[B, C, H, W]` as `[B, C, H, W]`."""
    return images.unsqueeze(1) if images.ndim == 3 else images


def as_inputs(images: Tensor) -> Tensor:
    """Images `uint8 [B, H, W]` or `[B, C, H, W]` as floats in [0, 1] of torch's default precision, `[B, C, H, W]`."""
    return as_planes(images) / 255


def check_grid(config: dict, image_shape: tuple[int, ...]) -> None:
    """Raise UserError unless every network of the grid can be built for images of this shape, as large as asked for."""
    planes, variations = to_planes(image_shape), variants(config)
    networks = {name: Networks(**varied(config, values)["networks"]) for name, values in variations.items()}
    for side, build in (("encoder", encoder), ("decoder", decoder)):
        each = ((getattr(spec, side), spec.latent_size, networks[spec.variant]) for spec in expand(config))
        for network, latent_size, widths in dict.fromkeys(each):
            try:
                check(network, image_shape)
                with torch.device("meta"):
                    built = build(network, latent_size, planes, widths)
                    if network.is_own:
                        _check_shapes(network, built, latent_size, planes)
            except UserError as error:
                raise UserError(f"grid.{side}s: {error}") from None
            except Exception as error:
                if network.is_own:  # its code may raise anything
                    file = f"{FILES[network.family].path}: " if network.family in FILES else ""
                    raise UserError(f"grid.{side}s: {file}{network}: {described(error)}") from None
                if not isinstance(error, RuntimeError):
                    raise
                # The bytes of a tensor of this size cannot be counted.
                raise UserError(
                    f"networks: {network} at latent size {latent_size} is too wide for any memory"
                ) from None


def _check_shapes(network: Network, built: nn.Module, latent_size: int, planes: Shape) -> None:
    """Raise UserError unless an encoder makes codes of images, and a decoder images of codes."""
    images, codes = (2, *planes), (2, latent_size)
    given, wanted = (images, codes) if isinstance(built, Encoder) else (codes, images)
    made = built(torch.zeros(given))
    shape = tuple((made[0] if isinstance(built, Encoder) else made).shape)
    if shape != wanted:
        raise UserError(f"{network}: makes {list(shape)} of {list(given)}, where {list(wanted)} is expected")
