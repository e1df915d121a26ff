"""An encoder rearranged for speed: the same numbers, in the order of memory that CPUs compute fastest.

Dense layers keep their weights input by output, which spares the library of matrix products a transposition in every
batch; convolutions run channels-last, and so does the map from their features to the heads, which would otherwise be
reordered for every image. What each gains stands in benchmarks/README.md.
"""

import torch
from torch import Tensor, nn

from vae.models.vae import Encoder


class Product(nn.Module):
    """A linear layer whose weights are `[inputs, outputs]` in memory."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().t().contiguous())
        self.bias = nn.Parameter(layer.bias.detach())

    def forward(self, rows: Tensor) -> Tensor:
        return torch.addmm(self.bias, rows, self.weight)


class FlattenChannelsLast(nn.Module):
    """Feature maps `[B, C, H, W]` as rows `[B, H·W·C]`; no copy where they are channels-last in memory."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(0, 2, 3, 1).flatten(1)


@torch.no_grad()
def rearrange(encoder: Encoder, planes: Tensor) -> None:
    """Rearrange an encoder in place; `planes` are images `[B, C, H, W]` that it takes.

    Layers that this module does not know stay as they are.
    """
    body = encoder.body
    if isinstance(body, nn.Sequential) and len(body) > 1 and type(body[-1]) is nn.Flatten:
        maps = body[:-1](planes)
        if maps.ndim == 4:
            body[-1] = FlattenChannelsLast()
            weight = encoder.heads.weight.unflatten(1, maps.shape[1:])
            encoder.heads.weight = nn.Parameter(weight.permute(0, 2, 3, 1).flatten(1).contiguous())
    for module in list(encoder.modules()):
        if type(module) is nn.Conv2d:
            # Cloned, as `contiguous` would leave a single channel as it is: its two orders differ in strides alone.
            weight = module.weight.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)
            module.weight = nn.Parameter(weight.permute(0, 3, 1, 2))
        for name, child in module.named_children():
            if type(child) is nn.Linear and child.bias is not None:
                setattr(module, name, Product(child))
