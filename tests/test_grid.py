import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae import grid
from vae.errors import UserError
from vae.grid import Network, Spec

networks = st.builds(Network, st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=6), st.integers(1, 999))
specs = st.builds(Spec, st.integers(1, 10**6), networks, networks)


@given(specs)
def test_a_label_reads_back_as_its_spec(spec):
    assert Spec.parse(str(spec)) == spec


@given(specs, st.integers(0, 10**9))
def test_a_folder_reads_back_as_its_model(spec, seed):
    assert grid.parse_folder(grid.folder("anywhere/models", spec, seed)) == (spec, seed)


@given(st.text(max_size=20))
def test_what_parses_is_written_the_same(text):
    try:
        assert str(Network.parse(text)) == text
    except UserError as error:
        assert repr(text) in str(error)


@pytest.mark.parametrize("text", ["", "DNN", "4", "DNN0", "DNN01", "dnn4", "DNN-4", "DNN4 ", "DNN4\n", "DNN٤", None, 4])
def test_what_is_not_a_network(text):
    with pytest.raises(UserError, match="not a network"):
        Network.parse(text)


@pytest.mark.parametrize("label", ["", "L0_DNN1_CNN1", "L5_DNN1", "50_DNN1_CNN1", "L5_DNN1_CNN1_", "L5_DNN1_CNN1/../x"])
def test_what_is_not_a_label(label):
    with pytest.raises(UserError, match="not a model's label"):
        Spec.parse(label)


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=5, unique=True),
    st.lists(networks.map(str), min_size=1, max_size=5, unique=True),
    st.lists(networks.map(str), min_size=1, max_size=5, unique=True),
)
def test_a_grid_expands_to_every_combination_once(latent_sizes, encoders, decoders):
    specs = grid.expand({"latent_sizes": latent_sizes, "encoders": encoders, "decoders": decoders})
    assert len({str(spec) for spec in specs}) == len(specs) == len(latent_sizes) * len(encoders) * len(decoders)
    assert {spec.latent_size for spec in specs} == set(latent_sizes)
    assert {str(spec.encoder) for spec in specs} == set(encoders)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoders": []}, "grid.encoders is empty"),
        ({"latent_sizes": []}, "grid.latent_sizes is empty"),
        ({"decoders": ["DNN1", "DNN1"]}, "grid.decoders names DNN1 more than once"),
        ({"decoders": ["DNN"]}, "grid.decoders: 'DNN' is not a network"),
    ],
)
def test_a_grid_that_makes_no_sense(change, message):
    with pytest.raises(UserError, match=message):
        grid.expand({"latent_sizes": [2], "encoders": ["DNN1"], "decoders": ["DNN1"]} | change)
