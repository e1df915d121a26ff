"""The step of a stack, recorded once as a CUDA graph and then replayed, in one launch."""

import torch
from torch import Tensor

from vae.training.stack import Stack


class Replay:
    """A stack's step for batches of one size, recorded as a CUDA graph."""

    def __init__(self, stack: Stack, size: int):
        count, device = len(stack.specs), stack.images.device
        self.chosen = torch.zeros(count, size, dtype=torch.long, device=device)
        self.noise = torch.zeros(count, size, stack.widest.latent_size, device=device)
        before = stack.snapshot()
        # Libraries set themselves up in their first calls, which must not be recorded.
        torch.cuda.synchronize(device)
        with torch.cuda.stream(torch.cuda.Stream(device)):
            for _ in range(3):
                stack.step(self.chosen, self.noise)
        torch.cuda.synchronize(device)
        stack.optimizer.zero_grad()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            stack.step(self.chosen, self.noise)
        # Nothing of this was training.
        with torch.no_grad():
            for name, value in before.items():
                stack.weights[name].copy_(value)
        for state in stack.optimizer.state.values():
            for value in filter(torch.is_tensor, state.values()):
                value.zero_()

    def step(self, chosen: Tensor, noise: Tensor) -> None:
        """As `Stack.step`."""
        self.chosen.copy_(chosen)
        self.noise.copy_(noise)
        self.graph.replay()
