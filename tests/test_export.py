import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import NETWORKS

from export import graphs, runtime
from export.graphs import BATCH_SIZES, Decoder, Encoder, difference
from vae import __version__
from vae.errors import UserError
from vae.grid import Spec
from vae.models import vae
from vae.models.networks import Networks
from vae.models.vae import as_inputs, build

WIDTHS = Networks(hidden_units=16, base_channels=2)


def exported(folder, spec, shape=(28, 28), seed=0):
    model = build(Spec.parse(spec), shape, WIDTHS, seed).eval()
    images = np.random.default_rng(0).integers(0, 256, (50, *shape), np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    graphs.export(folder, model, images, {"label": spec, "seed": str(seed)}, check=True)
    return model, images


def encode(folder, images):
    return runtime.run(runtime.open_session(folder / "encoder.onnx", 1), images)


@pytest.mark.parametrize("shape", [(28, 28), (3, 32, 32)])
@pytest.mark.parametrize("network", NETWORKS)
def test_exports_compute_what_the_model_does(tmp_path, network, shape):
    model, images = exported(tmp_path, f"L3_{network}_{network}", shape)
    check = json.loads((tmp_path / "export.json").read_text())
    assert check["batch_sizes"] == [1, 2, 7, 1000]
    assert max(value for side in check["largest_relative_difference"].values() for value in side.values()) < 1e-5
    with torch.inference_mode():
        mean, log_variance = model.encoder(as_inputs(torch.from_numpy(images)))
        probabilities = model.decoder(mean).sigmoid().reshape(-1, *shape).numpy()
    codes = encode(tmp_path, images)
    np.testing.assert_allclose(codes[0], mean, atol=1e-5)
    np.testing.assert_allclose(codes[1], log_variance, atol=1e-5)
    np.testing.assert_allclose(runtime.decode(tmp_path, mean.numpy(), threads=1), probabilities, atol=1e-5)
    script = torch.jit.load(tmp_path / "encoder.ts")(torch.from_numpy(images[:7]))
    np.testing.assert_allclose(script[0].detach(), mean[:7], atol=1e-5)


def test_the_scale_of_grey_levels_is_in_the_first_layer_and_the_model_keeps_its_own(tmp_path):
    model, _ = exported(tmp_path, "L3_CNN2_DNN1")
    assert "Div" not in {node.op_type for node in onnx.load(tmp_path / "encoder.onnx").graph.node}
    before = build(Spec.parse("L3_CNN2_DNN1"), (28, 28), WIDTHS, 0).encoder.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())


@pytest.mark.parametrize("shape", [(28, 28), (3, 9, 12)])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_rearranged_encoder_computes_the_same_without_reordering(network, shape):
    encoder = Encoder(build(Spec.parse(f"L3_{network}_DNN1"), shape, WIDTHS, 0)).eval()
    images = torch.randint(0, 256, (5, *shape), dtype=torch.uint8)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    fast = encoder.rearranged(images)
    for wanted, part in zip(encoder(images), fast(images), strict=True):
        torch.testing.assert_close(part, wanted)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])
    maps = fast.encoder.body[:-1](torch.rand(5, *vae.to_planes(shape)))
    if maps.ndim == 4:
        assert fast.encoder.body[-1](maps).data_ptr() == maps.data_ptr()


def test_torchscript_keeps_the_order_of_memory_and_says_what_it_is(tmp_path):
    exported(tmp_path, "L3_CNN2_DNN1")
    facts = dict.fromkeys(("label", "side", "image_shape", "latent_size"), "")
    script = torch.jit.load(tmp_path / "encoder.ts", _extra_files=facts)
    assert facts == {"label": b"L3_CNN2_DNN1", "side": b"encoder", "image_shape": b"28 28", "latent_size": b"3"}
    strides = [weight.stride() for weight in script.parameters() if weight.ndim == 4]
    assert strides == [(25, 1, 5, 1), (50, 1, 10, 2)]


def test_an_encoder_that_does_not_begin_with_a_linear_layer_is_scaled_before_it(tmp_path):
    model = build(Spec.parse("L3_DNN1_DNN1"), (28, 28), WIDTHS, 0).eval()
    model.encoder.body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Tanh(), *list(model.encoder.body)[1:])
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    graphs.export(tmp_path, model, images, {}, check=True)
    with torch.inference_mode():
        wanted = model.encoder(as_inputs(torch.from_numpy(images)))[0]
    np.testing.assert_allclose(encode(tmp_path, images)[0], wanted, atol=1e-5)


def test_an_onnx_file_says_what_it_is(tmp_path):
    exported(tmp_path, "L3_DNN1_CNN1", seed=5)
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    (images,) = session.get_inputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", 28, 28])
    assert [(output.name, output.shape) for output in session.get_outputs()] == [
        ("mean", ["batch", 3]),
        ("log_variance", ["batch", 3]),
    ]
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["label"] == "L3_DNN1_CNN1"
    assert metadata["seed"] == "5"
    assert metadata["side"] == "encoder"
    assert metadata["input"].startswith("images: ")
    assert metadata["output"].startswith("mean and log_variance ")
    (codes,) = onnxruntime.InferenceSession(tmp_path / "decoder.onnx").get_inputs()
    assert (codes.name, codes.shape) == ("codes", ["batch", 3])
    graph = onnx.load(tmp_path / "encoder.onnx")
    onnx.checker.check_model(graph)
    assert (graph.producer_name, graph.producer_version) == ("vae-architectures", __version__)
    assert graph.doc_string.startswith("L3_DNN1_CNN1 encoder: images: grey levels")
    assert graph.graph.input[0].type.denotation == "IMAGE"
    pixels = metadata["Image.NominalPixelRange"], metadata["Image.BitmapPixelFormat"], metadata["model_license"]
    assert pixels == ("NominalRange_0_255", "Gray8", "MIT")


def test_a_graph_that_differs_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    convert = graphs._graph

    def wrong(*arguments):
        graph = onnx.load_from_string(convert(*arguments))
        for node in graph.graph.node:
            for attribute in node.attribute:
                if node.op_type == "LeakyRelu" and attribute.name == "alpha":
                    attribute.f = 0.5
        return graph.SerializeToString()

    monkeypatch.setattr(graphs, "_graph", wrong)
    with pytest.raises(UserError, match="encoder as onnx differs from the trained model by"):
        exported(tmp_path, "L3_DNN1_CNN1")
    assert not list(tmp_path.iterdir())


def test_the_difference_is_the_largest_at_any_batch_size():
    example = torch.linspace(-2, 2, max(BATCH_SIZES))[:, None]

    def off(batch):
        return [np.where(np.arange(len(batch))[:, None] == 999, batch.numpy() + 0.5, batch.numpy())]

    assert difference(lambda batch: batch, off, example) == pytest.approx(0.25)
    assert difference(lambda batch: batch, lambda batch: [batch.numpy()], example) == 0
    assert difference(lambda batch: batch, lambda batch: [batch.numpy()[:-1]], example) == float("inf")
    assert np.isnan(difference(lambda batch: batch, lambda batch: [batch.numpy() * np.nan], example))


def test_a_diverged_model_is_exported_unchecked(tmp_path):
    model = build(Spec.parse("L3_DNN1_DNN1"), (28, 28), WIDTHS, 0).eval()
    with torch.no_grad():
        model.encoder.heads.weight.fill_(float("nan"))
    images = np.zeros((5, 28, 28), np.uint8)
    with pytest.raises(UserError, match="differs from the trained model by nan"):
        graphs.export(tmp_path, model, images, {}, check=True)
    graphs.export(tmp_path, model, images, {}, check=False)
    assert json.loads((tmp_path / "export.json").read_text())["largest_relative_difference"] == {}


def test_the_decoder_answers_probabilities_and_the_encoder_takes_bytes():
    model = build(Spec.parse("L3_DNN1_CNN1"), (3, 8, 8), WIDTHS, 0)
    codes = torch.randn(4, 3)
    logits = model.decoder(codes)
    torch.testing.assert_close(Decoder(model, (3, 8, 8))(codes), 1 / (1 + torch.exp(-logits)))
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    for wanted, codes in zip(model.encoder(pixels / 255), Encoder(model)(pixels), strict=True):
        torch.testing.assert_close(codes, wanted)


def test_batches_are_joined_in_order(tmp_path, monkeypatch):
    _, images = exported(tmp_path, "L3_DNN1_DNN1")
    whole = encode(tmp_path, images)[0]
    monkeypatch.setattr(runtime, "BATCH", 7)
    np.testing.assert_allclose(encode(tmp_path, images)[0], whole, atol=1e-6)


def test_a_file_that_is_not_onnx_is_named(tmp_path):
    (tmp_path / "encoder.onnx").write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"encoder\.onnx: onnxruntime cannot load it"):
        encode(tmp_path, np.zeros((1, 28, 28), np.uint8))


def test_examples_show_one_image_of_each_class(tmp_path):
    _, images = exported(tmp_path, "L3_DNN1_DNN1")
    mean, log_variance = encode(tmp_path, images)
    labels = np.arange(50) // 5 % 4
    examples = runtime.examples(tmp_path, mean, log_variance, labels, 0, 1)
    assert examples["indices"].tolist() == [0, 5, 10, 15]
    assert examples["reconstructions"].shape == (4, 28, 28)
    assert examples["samples"].shape == (10, 28, 28)
    assert examples["samples"].dtype == np.uint8
    assert runtime.examples(tmp_path, mean, log_variance, None, 0, 1)["indices"].tolist() == list(range(10))


def test_convolutions_of_a_trace_keep_all_digits_on_a_gpu(sample):
    """Whatever the process that traces allows: what it does stands in the trace as a constant."""
    images = torch.from_numpy(np.array(sample.test_images[:2]))
    model = build(Spec.parse("L3_CNN2_CNN2"), (28, 28), Networks(8, 4), 0).eval()
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, True
    try:
        script = graphs._load(graphs._script(graphs.Encoder(model), images, {}))
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before
    graph = script.inlined_graph
    layers = graph.findAllNodes("aten::_convolution")
    assert len(layers) == 2
    names = [argument.name for argument in torch._C._get_schema("aten::_convolution", "").arguments]
    assert [list(layer.inputs())[names.index("allow_tf32")].toIValue() for layer in layers] == [False, False]
