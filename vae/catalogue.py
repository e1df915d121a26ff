"""Every stage of a study, every figure and every command, once.

The workflow, the command line, the pages and the tests read them here. A stage bears the name of its rule and of its
module in `vae/stages`; a figure that of its function in `vae/report/figures`; a tool that of its module in `vae/tools`.
"""

from dataclasses import dataclass
from typing import Literal

from vae.registry import Registry


@dataclass(frozen=True)
class Stage:
    """A stage: its summary in a line; the stages whose files it reads; the files that it writes, by name.

    One job writes one set of files `of` the study or of a pair, below `results/`, or of each of its models, in their
    folders. `gpu` is whether it computes on a GPU where there is one; `on_demand`, whether a study leaves it out until
    it is asked for. Where a `key` of the config's `evaluation` is named, a study has the stage if that is set. It
    `builds` networks of its pair, or also of sides of the grid, whose families may come in a file.
    """

    name: str
    summary: str
    reads: tuple[str, ...]
    writes: dict[str, str]
    of: Literal["study", "pair", "model"] = "study"
    gpu: bool = False
    on_demand: bool = False
    key: str = ""
    builds: tuple[Literal["pair", "encoders", "decoders"], ...] = ()


@dataclass(frozen=True)
class Figure:
    """The category of a figure in the report, its caption, and whether it is on the page of claims.

    One that `shows` a key of the config is drawn in studies that sweep it, or have it set in `evaluation`.
    """

    name: str
    category: str
    caption: str
    on_page: bool = True
    shows: str = ""


FIGURES: Registry[Figure] = Registry("figure")
for figure in (
    Figure(
        "collapse_atlas",
        "0 Claims",
        "Above: for each latent size, encoder (row) and decoder (column), the share of seeds that collapsed (colour)"
        " and the mean KLD (number). Middle: over the latent size, the share of collapsed models and the effective"
        " beta, which is the weight of the KLD in the objective; the KLD and the active units of every model, beside"
        " the prediction of the theory of linear VAEs. Below: the KLD of every latent dimension, sorted, one line per"
        " model (orange if it collapsed), and the theory in black. The theory does not depend on architectures: it"
        " takes the variances of the images' principal directions and the effective beta, and predicts that a direction"
        " is encoded if its variance exceeds beta times the variance of the noise. Values below 0.001 are drawn at"
        " 0.001.",
    ),
    Figure(
        "loss_decomposition",
        "0 Claims",
        "First page: the −ELBO of each model in four parts, from below: the misfit of the decoder (against the entropy"
        " of the images where it is known, otherwise against the best decoder of the study), the approximation gap of"
        " diagonal Gaussians, the amortisation gap of the encoder on training images, and what test images add to it."
        " Bars are means over seeds, with the 95% interval of the sum between seeds. A bar is hatched if another model"
        " of the same architecture shows that training stopped half a nat or more above the optimum. Second page, if"
        " encoders are swapped: each encoder is refitted to frozen decoders. Rows compare encoders by how well they"
        " infer, columns by how good a decoder they trained. Last page, if beta is swept: distortion over rate.",
        shows="evaluation.gap_images",
    ),
    Figure(
        "effects",
        "0 Claims",
        "First page: the share of the variance of each measure that encoder, decoder and their interactions explain"
        " at equal latent size (analysis of variance; with one seed the interaction of all three choices cannot be"
        " separated from the seed). The share of the latent size stands beside each measure: under the mean reduction"
        " the latent size sets the weight of the KLD. Second page: the mean difference of the models with each encoder"
        " or decoder from the mean of all, compared within blocks that have all other choices in common, with 95%"
        " intervals: between seeds, or with one seed over the contexts of the grid. For losses and distances, left is"
        " better; for accuracy and IWAE bound, right is better.",
    ),
    Figure(
        "kld_ranked",
        "2 Losses",
        "All models, ranked by the KLD between posterior and prior, on a logarithmic axis. Orange squares are"
        " collapsed models: in at least half of the seeds their KLD is below the dashed threshold. Values below 1e-6"
        " are drawn at the edge.",
    ),
    Figure(
        "reconstruction_ranked",
        "2 Losses",
        "All models, ranked by the reconstruction loss on validation images. Circles and squares: the reconstruction"
        " loss on test images (lower axis). Green crosses: the KLD of the same model (upper axis, logarithmic). The"
        " dashed line is the loss of the constant decoder (mean training image), about the best that a completely"
        " collapsed model can reach.",
    ),
    Figure(
        "reconstruction_top_quartile",
        "2 Losses",
        "The best quarter of the models by the reconstruction loss on validation images: the loss on test images"
        " (lower axis) and the KLD of the same model (green crosses, upper axis, logarithmic). If crosses move left"
        " from the best rank to the worst, models with a higher KLD reconstruct better.",
    ),
    Figure(
        "top_quartile_counts",
        "3 Architectures",
        "The number of models of each latent size, encoder and decoder in the top quartile by reconstruction. The"
        " orange line is the count expected by chance, if this choice made no difference among architectures that have"
        " the two other choices in common. A star marks a count that differs from it at the 5% level, by an exact"
        " permutation test within these blocks, corrected for the number of bars.",
    ),
    Figure(
        "top_quartile_counts_by_latent_size",
        "3 Architectures",
        "The models of the top quartile by reconstruction, counted by architecture and latent size: encoders above,"
        " decoders below.",
    ),
    Figure(
        "rate_distortion",
        "3 Architectures",
        "Distortion (reconstruction loss on test images) over rate (KLD) for every architecture, as means over seeds,"
        " at each weight of the KLD that the study sweeps. A cubic curve joins the points on the lower convex hull; its"
        " slope at each point is minus the weight, as at an optimum. At equal rate, a lower curve is a better"
        " architecture.",
        shows="objective.beta",
    ),
    Figure(
        "pca_top_quartile",
        "4 Latent spaces",
        "Posterior means of up to 2,000 test images in their first two principal components, one panel per model of the"
        " top quartile, best reconstruction first, coloured by class if the dataset has labels. Above each panel: rank,"
        " model, and the share of the variance that the two components explain. If it is small, classes that overlap"
        " here may be separable in the other dimensions. With several seeds, the first one that did not diverge is"
        " shown.",
    ),
    Figure(
        "pca_top_half",
        "4 Latent spaces",
        "Posterior means of up to 2,000 test images in their first two principal components, one panel per model of the"
        " top half, drawn as those of the top quartile are.",
    ),
    Figure(
        "reconstructions",
        "5 Images",
        "The first test image of each class (the first ten images, if there are no labels), and its reconstructions by"
        " the three best, the three median and the three worst models by reconstruction, each decoded by the exported"
        " models from one sampled code. Below each name: rank, reconstruction loss and KLD in nats per image.",
        on_page=False,
    ),
    Figure(
        "prior_samples",
        "5 Images",
        "Codes drawn from the prior and decoded by the exported decoders, for the same models as in the figure of"
        " reconstructions.",
        on_page=False,
    ),
    Figure(
        "training_curves",
        "6 Training",
        "Reconstruction loss and KLD on training images, as means over each epoch. One panel per encoder and decoder,"
        " one line per latent size and seed. The dashed line is the loss of the constant decoder (mean training"
        " image); the first epochs may lie above the panel.",
        on_page=False,
    ),
):
    FIGURES.add(figure.name, figure)

STAGES: Registry[Stage] = Registry("stage")
for stage in (
    Stage(
        "dataset",
        "fetch, check and write the dataset",
        (),
        {"dataset": "data/dataset.npz", "facts": "data/dataset.json"},
    ),
    Stage(
        "check",
        "check the grid against the dataset's images, and write the merged config",
        ("dataset",),
        {"config": "config.yaml"},
        builds=("encoders", "decoders"),
    ),
    Stage(
        "baselines",
        "measure the baselines: pixels, their principal components, the linear VAE, untrained encoders, true entropy",
        ("dataset",),
        {
            "pixels": "baselines/pixels.json",
            "untrained": "baselines/untrained.json",
            "truth": "baselines/truth.json",
        },
        builds=("encoders",),
    ),
    Stage(
        "classifier",
        "train the classifier in whose features samples are compared with images",
        ("dataset",),
        {"classifier": "baselines/classifier.npz", "accuracy": "baselines/classifier.json"},
    ),
    Stage(
        "tune",
        "choose a value of the tuned key for a pair, by the validation images",
        ("dataset",),
        {"tuning": "tuning/{encoder}_{decoder}.json"},
        of="pair",
        gpu=True,
        builds=("pair",),
    ),
    Stage(
        "train",
        "train models; on a GPU those of one encoder and decoder together",
        ("dataset", "tune"),
        {
            "weights": "weights.safetensors",
            "metrics": "metrics.json",
            "history": "history.csv",
            "provenance": "provenance.json",
        },
        of="model",
        gpu=True,
        builds=("pair",),
    ),
    Stage(
        "fidelity",
        "train a sentinel of the budget for twice as long",
        ("dataset", "tune"),
        {"fidelity": "fidelity/{encoder}_{decoder}.json"},
        of="pair",
        gpu=True,
        builds=("pair",),
    ),
    Stage(
        "export",
        "export models to TorchScript and ONNX, and check both",
        ("dataset", "train"),
        {
            "encoder_script": "encoder.ts",
            "decoder_script": "decoder.ts",
            "encoder": "encoder.onnx",
            "decoder": "decoder.onnx",
            "check": "export.json",
        },
        of="model",
        builds=("pair",),
    ),
    Stage(
        "measure",
        "measure codes, samples from the prior, and the IWAE bound on log p(x)",
        ("dataset", "train", "export", "classifier"),
        {
            "latents": "latents.npz",
            "examples": "examples.npz",
            "components": "codes.npz",
            "codes": "codes.json",
            "samples": "samples.json",
            "likelihood": "likelihood.json",
        },
        of="model",
        builds=("pair",),
    ),
    Stage(
        "gaps",
        "measure the inference gaps of models: approximation and amortisation",
        ("dataset", "train"),
        {"gaps": "gaps.json", "per_image": "gaps.npz"},
        of="model",
        gpu=True,
        key="gap_images",
        builds=("pair",),
    ),
    Stage(
        "swap",
        "refit every encoder to the frozen decoders of a pair",
        ("dataset", "tune", "train"),
        {"swap": "swap/{encoder}_{decoder}.json"},
        of="pair",
        gpu=True,
        key="swap",
        builds=("pair", "encoders"),
    ),
    Stage(
        "control",
        "train the autoencoder of a pair, whose codes have neither noise nor a KLD",
        ("dataset", "tune"),
        {"control": "control/{encoder}_{decoder}.json"},
        of="pair",
        gpu=True,
        key="control",
        builds=("pair",),
    ),
    Stage(
        "quantise",
        "write encoders in 8-bit integers, and measure the loss of accuracy",
        ("dataset", "train", "export", "measure"),
        {"encoder": "encoder.int8.onnx", "cost": "encoder.int8.json"},
        of="model",
        on_demand=True,
    ),
    Stage(
        "tables",
        "gather all models in one table, and rank architectures",
        (
            "check",
            "train",
            "export",
            "measure",
            "gaps",
            "tune",
            "fidelity",
            "swap",
            "control",
            "baselines",
            "classifier",
        ),
        {
            "models": "tables/models.csv",
            "architectures": "tables/architectures.csv",
            "counts": "tables/counts.csv",
            "fidelity": "tables/fidelity.csv",
            "swap": "tables/swap.csv",
        },
    ),
    Stage(
        "claims",
        "test the claims, and measure the effect of every choice",
        ("tables",),
        {
            "claims": "tables/claims.csv",
            "effects": "tables/effects.csv",
            "means": "tables/means.csv",
            "rate_distortion": "tables/rate_distortion.csv",
        },
    ),
    Stage(
        "figures",
        "draw every figure as PNG and PDF",
        ("dataset", "train", "measure", "baselines", "tables", "claims"),
        {name: f"figures/{name}.png" for name in FIGURES} | {f"{name}_pdf": f"figures/{name}.pdf" for name in FIGURES},
    ),
    Stage(
        "page",
        "write the page of claims, with the figures that show them",
        ("tables", "claims"),
        {"page": "claims.html"},
    ),
    Stage(
        "explore",
        "write the page to explore the models of a study",
        ("dataset", "train", "measure", "baselines", "tables", "claims"),
        {"page": "explore.html"},
    ),
):
    STAGES.add(stage.name, stage)

# Of every job. Memory in large pages, where the C library offers it, spares training hundreds to thousands of page
# faults a step.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

TOOLS = Registry[str]("tool")
for name, summary in {
    "status": "show the progress of a study: what is done, what failed, and the time that is left",
    "models": "list the models of a study that meet a condition, as text, CSV, JSON or Markdown",
    "encode": "encode images (IDX, .npy, PNGs) with a trained encoder",
    "decode": "decode codes with a trained decoder",
    "bundle": "write a model as a folder to publish, with a card and test data",
    "provenance": "show where the numbers of a model come from",
    "compare": "compare two studies",
    "view": "explore studies in the browser, and encode what you draw",
    "track": "show a study in TensorBoard or MLflow, after or while it runs",
    "native": "build the encoder in C++",
}.items():
    TOOLS.add(name, summary)

# What pip brings the packages of a command with; those of the others, which encode, are there, or come with `study`.
EXTRAS = {"models": "view", "compare": "view", "view": "view", "track": "track"}
