"""An unfinished training on disk: what it takes to resume after its last completed epoch, with the same numbers."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from vae.files import write_bytes

log = logging.getLogger(__name__)


@dataclass
class Saved:
    """A training after an epoch.

    `weights` are those of the last finite epoch, by name; `moments` the state of the optimiser, by `<key>/<name>`;
    `generators` the states of the generators, by name; `history` and `status` as of `vae.training.loop.Trained`.
    """

    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    generators: dict[str, Tensor]
    history: list[dict]
    status: str

    def over(self, epochs: int) -> bool:
        """Whether nothing of `epochs` is left to train."""
        return self.status != "ok" or len(self.history) >= epochs


class Progress:
    """The file in which a model's training is kept from epoch to epoch.

    `identity` is all that decides the numbers (JSON): a file that was left under another one is removed, not resumed.
    """

    def __init__(self, path: Path, identity: dict):
        self.path, self.identity = path, json.dumps(identity, sort_keys=True)

    def save(self, saved: Saved) -> None:
        """Keep this state in place of the one before, whole or not at all."""
        groups = {"weights": saved.weights, "moments": saved.moments, "generators": saved.generators}
        tensors = {
            f"{group}/{name}": value.detach().cpu().contiguous()
            for group, named in groups.items()
            for name, value in named.items()
        }
        facts = {"identity": self.identity, "history": json.dumps(saved.history), "status": saved.status}
        facts["sha256"] = _sha256(tensors, facts)
        write_bytes(self.path, safetensors.torch.save(tensors, facts))

    def load(self) -> Saved | None:
        """The last state that was kept; None where there is none, or none of this training."""
        try:
            with safetensors.safe_open(self.path, "pt") as stream:
                facts = stream.metadata() or {}
                tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 (it is no dict)
        except FileNotFoundError:
            return None
        except (safetensors.SafetensorError, OSError) as error:
            self._refuse(f"damaged ({error})")
            return None
        if facts.get("identity") != self.identity:
            self._refuse("of another training, by config, data, code or machine")
            return None
        if facts.pop("sha256", None) != _sha256(tensors, facts):
            self._refuse("damaged")
            return None
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "moments": {}, "generators": {}}
        for path, value in tensors.items():
            group, name = path.split("/", 1)
            groups[group][name] = value
        return Saved(**groups, history=json.loads(facts["history"]), status=facts["status"])

    def _refuse(self, reason: str) -> None:
        log.warning("%s: %s; training restarts", self.path, reason)
        self.remove()

    def remove(self) -> None:
        """Forget it, once the model itself is on disk."""
        self.path.unlink(missing_ok=True)


def _sha256(tensors: dict[str, Tensor], facts: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()


State = Mapping[Tensor, dict[str, Tensor]]


def moments(state: State, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An optimiser's state of named parameters, by `<key>/<name>`."""
    return {f"{key}/{name}": value for name, parameter in parameters.items() for key, value in state[parameter].items()}


def restore(state: State, parameters: Mapping[str, Tensor], moments: dict[str, Tensor]) -> None:
    """Put back what `moments` took, in place: a CUDA graph refers to the addresses."""
    for path, value in moments.items():
        key, name = path.split("/", 1)
        state[parameters[name]][key].copy_(value)
