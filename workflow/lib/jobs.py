"""The jobs of a study: which there are, which files each reads and writes, and which models it works on."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from glob import escape, glob
from itertools import islice, product
from pathlib import Path

from snakemake.io import local

from vae import grid
from vae.catalogue import FIGURES, STAGES
from vae.data import folders
from vae.grid import Network
from vae.provenance import ROOT, closure

# What Snakemake calls the wildcards of a job that `jobs` in the config asks for.
PATTERNS = {"pair": "{encoder}_{decoder}", "model": "L{latent_size}_{encoder}_{decoder}"}
# What is done with every model of every study.
MODEL_STAGES = [stage.name for stage in STAGES.values() if stage.of == "model" and not (stage.on_demand or stage.key)]


class Jobs:
    """The jobs of a config.

    A job's models share its wildcards: a pair's job has every latent size, and either kind has every seed. Paths begin
    with `results/`, which Snakemake puts below the prefix of a `module`; `results` is that folder with the prefix.
    """

    def __init__(self, config: dict, results: str = "results"):
        self.config, self.results = config, Path(results)
        self.pattern = PATTERNS[config["jobs"]]
        self.seeds, sizes = config["training"]["seeds"], config["grid"]["latent_sizes"]
        self.suffixes = [grid.suffix(variant) for variant in grid.variants(config)]
        by_pair = config["jobs"] == "pair"
        self.latent_sizes = sizes if by_pair else ["{latent_size}"]
        self.wildcards = [
            {"encoder": encoder, "decoder": decoder} | ({} if by_pair else {"latent_size": size})
            for size in ([None] if by_pair else sizes)
            for encoder in config["grid"]["encoders"]
            for decoder in config["grid"]["decoders"]
        ]
        sides = product(config["grid"]["encoders"], config["grid"]["decoders"])
        every = [{"encoder": encoder, "decoder": decoder} for encoder, decoder in sides]
        self.sentinels = {spec.pair: spec for spec in grid.sentinels(config)}
        of_sentinels = [{"encoder": spec.encoder, "decoder": spec.decoder} for spec in self.sentinels.values()]
        # Figures of what the study sweeps or measures on demand, and those that every study has.
        asked = {f"evaluation.{key}" for key, value in config["evaluation"].items() if value} | {
            *config["grid"]["sweep"]
        }
        self.figures = {name: figure for name, figure in FIGURES.items() if not figure.shows or figure.shows in asked}
        # What is done with every model of this study.
        self.left_out = {stage.name for stage in STAGES.values() if stage.key and not config["evaluation"][stage.key]}
        asked = [stage.name for stage in STAGES.values() if stage.of == "model" and stage.key]
        self.model_stages = MODEL_STAGES + [name for name in asked if name not in self.left_out]
        # Which pairs the stages that work on a pair are done with.
        self.pairs = {
            "tune": every if grid.tuned(config) else [],
            "fidelity": of_sentinels,
            "swap": every,
            "control": every,
        }

    def reads(self, stage: str) -> dict:
        """The inputs of a stage by name: files of the stages that it reads, and the code that decides its numbers.

        Where the config names a file of families, that is an input of the jobs that build networks of them, and else of
        none: `families` is a function of a job's wildcards.
        """
        inputs: dict = {}
        for name in STAGES[stage].reads:
            read = STAGES[name]
            if name in self.left_out:
                continue
            if read.of == "model":
                inputs[name] = self._done_before(name, STAGES[stage].of)
            elif read.of == "pair" and self.pairs[name]:
                of_its_own = STAGES[stage].of in ("model", "pair")
                inputs |= {
                    file: path if of_its_own else [path.format(**pair) for pair in self.pairs[name]]
                    for file, path in self.writes(name).items()
                }
            elif read.of != "pair":
                inputs |= self.writes(name)
        if self.config["families"] and STAGES[stage].builds:
            inputs["families"] = self._families(stage)
        return inputs | {"code": [local(os.path.relpath(ROOT / file)) for file in closure(stage)]}

    def _families(self, stage: str) -> Callable[..., list[str]]:
        of_grid = [name for side in STAGES[stage].builds if side != "pair" for name in self.config["grid"][side]]
        file = self.config["families"]

        def needed(wildcards) -> list[str]:
            of_pair = [wildcards.encoder, wildcards.decoder] if "pair" in STAGES[stage].builds else []
            return [local(file)] if any(Network.parse(name).is_own for name in of_grid + of_pair) else []

        return needed

    def writes(self, stage: str) -> dict:
        """The outputs of a stage by name, as patterns of its job's wildcards."""
        files = STAGES[stage].writes
        if stage == "figures":
            files = {name: file for name, file in files.items() if name.removesuffix("_pdf") in self.figures}
        if STAGES[stage].of != "model":
            return {name: f"results/{file}" for name, file in files.items()}
        return {"done": self.done(stage)} | {name: self._of_models(file) for name, file in files.items()}

    def _of_models(self, file: str) -> list[str]:
        """The pattern of a file of every model of a job."""
        return [
            f"results/models/{grid.FOLDER}/{file}".format(
                latent_size=size, encoder="{encoder}", decoder="{decoder}", suffix=suffix, seed=seed
            )
            for size in self.latent_sizes
            for suffix in self.suffixes
            for seed in self.seeds
        ]

    def of_stage(self, folder: str, stage: str, suffix: str) -> str:
        """The pattern of the file that a job of a stage has in `logs` or `benchmarks`."""
        names = {"study": "", "pair": "/{encoder}_{decoder}", "model": f"/{self.pattern}"}
        return f"results/{folder}/{stage}{names[STAGES[stage].of]}{suffix}"

    def done(self, stage: str) -> str:
        """The pattern of the file that a stage's job writes last; the next stage waits for it.

        Were it to wait for the files of every model, what Snakemake does would grow with the square of a job's models.
        The file holds the time, as Snakemake takes a file with the same content for the same file. Stages lie below the
        job, as --batch divides sorted paths.
        """
        return f"results/jobs/{self.pattern}/{stage}"

    def _done_before(self, stage: str, of: str) -> str | list[str]:
        """That file of every job of a stage whose models a job `of` a model, a pair or the study reads."""
        sizes = self.config["grid"]["latent_sizes"] if self.config["jobs"] == "model" else [None]
        of_pair = [self.done(stage).replace("{latent_size}", str(size)) for size in sizes]
        return {"model": self.done(stage), "pair": of_pair, "study": self.all_done(stage)}[of]

    def all_done(self, *stages: str) -> list[str]:
        """That file of every job of some stages."""
        return [self.done(stage).format(**job) for stage in stages for job in self.wildcards]

    def lost(self, _, stages: Sequence[str] = ()) -> list[str]:
        """The missing files of jobs that are done: files that were deleted, or of a latent size or seed that was added.

        One file of a job will do to have it run again. Without `stages`, it is of all that are done with every model.
        It is an input function: Snakemake asks before it plans.
        """
        lost = (self._missing(stage, job) for stage in stages or self.model_stages for job in self.wildcards)
        return [path for missing in lost for path in islice(missing, 1)]

    def _missing(self, stage: str, job: dict) -> Iterator[str]:
        def exists(path: str) -> bool:
            return os.path.exists(self.results / path.removeprefix("results/"))

        if exists(self.done(stage).format(**job)):
            for file in STAGES[stage].writes.values():
                yield from (path for path in (p.format(**job) for p in self._of_models(file)) if not exists(path))

    def models(self, wildcards, output) -> str:
        """The folders of a job's models, in Bash's braces: Snakemake keeps the command in its record of every output.

        Because this takes `output`, Snakemake does not compare it with the last run's: a shorter grid trains nothing
        again.
        """
        sizes = [wildcards.latent_size] if self.config["jobs"] == "model" else self.latent_sizes
        return self._folders(wildcards, output, sizes, self.suffixes)

    def models_of_pair(self, wildcards, output) -> str:
        """The same for all models of a pair that are of the config itself."""
        return self._folders(wildcards, output, self.config["grid"]["latent_sizes"], [""])

    def _folders(self, wildcards, output, sizes: list, suffixes: list[str]) -> str:
        folder = grid.FOLDER.format(
            latent_size=braces(sizes),
            encoder=wildcards.encoder,
            decoder=wildcards.decoder,
            suffix=braces(suffixes),
            seed=braces(self.seeds),
        )
        return f"{self.folder(wildcards, output)}/models/{folder}"

    def sweep(self, _, output) -> str:
        """The sweep of the config as JSON; like `models`, it takes `output`, so that a shorter sweep trains nothing."""
        return json.dumps(self.config["grid"]["sweep"])

    def sentinel(self, wildcards) -> str:
        """The label of a pair's sentinel."""
        return str(self.sentinels[f"{wildcards.encoder}_{wildcards.decoder}"])

    def folder(self, _, output) -> Path:
        """The folder `results` that a job writes to, below the prefix of a `module`."""
        return next(parent for parent in Path(output[0]).parents if parent.name == "results")

    def dataset_files(self) -> list[str]:
        """The files of the configured dataset, if it is the user's own: changed data is another study."""
        path = str(Path(self.config["dataset"]["path"] or "nowhere"))
        # Not with pathlib, which raises where a name is too long for any file.
        files = [path] if os.path.isfile(path) else sorted(glob(f"{escape(path)}/*[-.]idx?-ubyte*"))
        return [local(file) for file in files]

    def pictures(self) -> str:
        """A digest of the state of the user's own pictures, which are too many to be inputs; empty without any."""
        folder = Path(self.config["dataset"]["path"] or "nowhere")
        return folders.state(folder) if folders.is_one(folder) else ""


def braces(values: list) -> str:
    """Bash expands {1,2} to 1 and 2, but not {1} to 1."""
    return "{" + ",".join(map(str, values)) + "}" if len(values) > 1 else str(values[0])
