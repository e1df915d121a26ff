"""Pictures and folders of them: every pixel is that of the picture, or a line says why not."""

import json
import os
import struct
import zlib
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from vae.cli import main
from vae.data import dataset, folders, pictures, readers, source
from vae.errors import UserError

RAMP = np.tile(np.arange(28, dtype=np.uint8) * 9, (28, 1))
HUES = np.stack([RAMP, RAMP.T, 255 - RAMP])


def picture(pixels):
    return Image.fromarray(np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else pixels)


def png_of_16_bits(pixels):
    """A PNG of three channels of 16 bits, which Pillow reads and does not write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


def with_alpha(pixels, alpha):
    laid = pixels if pixels.ndim == 3 else pixels[None]
    return picture(np.concatenate([laid, np.broadcast_to(np.uint8(alpha), laid.shape[-2:])[None]]))


GREY = {
    "grey": picture(RAMP),
    "grey saved as RGB": picture(np.stack([RAMP] * 3)),
    "a palette": picture(RAMP).convert("P"),
    "16 bits": Image.fromarray(RAMP.astype(np.uint16) * 256 + 77),
    "grey with an opaque alpha": with_alpha(np.stack([RAMP] * 3), 255),
    "LA": picture(RAMP).convert("LA"),
    "white with ink in its alpha": with_alpha(np.full((3, 28, 28), 255, np.uint8), RAMP),
}


@pytest.mark.parametrize("kind", GREY)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_levels_are_those_of_the_picture_however_it_is_saved(tmp_path, kind, suffix):
    GREY[kind].save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(pictures.read(tmp_path / f"a{suffix}"), RAMP)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".webp", ".tif"])
def test_colours_are_those_of_the_picture_in_every_format(tmp_path, suffix):
    picture(HUES).save(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    np.testing.assert_array_equal(pictures.read(tmp_path / f"a{suffix}"), HUES)


def test_a_format_is_known_by_the_content_and_not_by_the_name(tmp_path):
    picture(HUES).save(tmp_path / "a.jpg", "PNG")
    np.testing.assert_array_equal(pictures.read(tmp_path / "a.jpg"), HUES)


def test_jpegs_are_read_and_grey_ones_are_grey(tmp_path):
    for name, pixels in (("grey", RAMP), ("saved as RGB", np.stack([RAMP] * 3)), ("colour", HUES)):
        picture(pixels).save(tmp_path / "a.jpg", quality=95)
        found = pictures.read(tmp_path / "a.jpg")
        assert found.shape == (HUES.shape if name == "colour" else RAMP.shape)
        assert np.abs(found - (HUES if name == "colour" else RAMP).astype(int)).mean() < 5


@given(hnp.arrays(np.uint16, (3, 4, 3)))
def test_16_bits_become_their_upper_8(tmp_path_factory, levels):
    file = tmp_path_factory.getbasetemp() / "16.png"
    file.write_bytes(png_of_16_bits(levels))
    wanted = np.moveaxis(levels >> 8, -1, 0)
    found = pictures.read(file)
    np.testing.assert_array_equal(found if found.ndim == 3 else np.stack([found] * 3), wanted)
    Image.fromarray(levels[..., 0].copy()).save(file)
    np.testing.assert_array_equal(pictures.read(file), wanted[0])


def test_levels_of_more_than_8_bits_in_a_pgm_are_read(tmp_path):
    levels = RAMP.astype(np.uint16) * 256 + 3
    (tmp_path / "a.pgm").write_bytes(b"P5 28 28 65535\n" + levels.astype(">u2").tobytes())
    np.testing.assert_array_equal(pictures.read(tmp_path / "a.pgm"), RAMP)


@given(hnp.arrays(np.uint8, (4, 3, 5)))
def test_what_is_transparent_lies_on_black(pixels):
    """An opaque pixel is as it is, a clear one is black, and others are between, rounded."""
    try:
        found = pictures.as_array(picture(pixels))
    except ValueError:
        return  # all of one colour on black
    wanted = pixels[:3].astype(float) * pixels[3] / 255
    assert np.abs(wanted - found).max() <= 0.51


def test_transparency_that_is_no_channel_is_black_too(tmp_path):
    picture(RAMP).save(tmp_path / "a.png", transparency=252 - 9)
    Image.fromarray(RAMP.astype(np.uint16) * 256).save(tmp_path / "b.png", transparency=(252 - 9) * 256)
    picture(RAMP).convert("P").save(tmp_path / "c.png", transparency=252 - 9)
    for name in "abc":
        np.testing.assert_array_equal(pictures.read(tmp_path / f"{name}.png"), np.where(RAMP == 243, 0, RAMP))


def test_a_picture_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    picture(HUES).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(pictures.read(tmp_path / "a.png"), np.rot90(HUES, -1, (1, 2)))


def frames(file):
    first, second = picture(RAMP), picture(RAMP.T.copy())
    first.save(file, "PNG", save_all=True, append_images=[second])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: with_alpha(np.zeros((3, 28, 28), np.uint8), RAMP).save(file), "ink is in its transparency"),
        (lambda file: Image.fromarray(RAMP.astype(np.float32)).save(file, "TIFF"), "levels of 32 bits"),
        (lambda file: Image.fromarray(RAMP.astype(np.int32)).save(file, "TIFF"), "levels of 32 bits"),
        (frames, "has 2 frames"),
        (lambda file: picture(RAMP).save(file, "GIF"), "not a sound picture"),
        (lambda file: picture(RAMP).save(file, "EPS"), "not a sound picture"),
        (lambda file: file.write_bytes(b"\0\5\x16\7 a resource fork"), "not a sound picture"),
        (lambda file: file.write_bytes(b""), "not a sound picture"),
        (lambda file: (picture(HUES).save(file), os.truncate(file, file.stat().st_size // 2)), "truncated"),
        (lambda file: file.symlink_to("nowhere"), "No such file"),
        (lambda file: file.mkdir(), "Is a directory"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line_that_names_it(tmp_path, make, message):
    make(tmp_path / "a.png")
    with pytest.raises(UserError, match=rf"a\.png: .*{message}") as error:
        pictures.read(tmp_path / "a.png")
    assert str(error.value).count("a.png") == 1


@pytest.mark.parametrize("most", [700, 300])
def test_a_small_file_that_unpacks_to_very_many_pixels_is_refused(tmp_path, monkeypatch, most):
    picture(RAMP).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)  # Pillow warns of more than that, and refuses twice as many
    with pictures.no_bombs(), pytest.raises(UserError, match=r"a\.png: Image size \(784 pixels\) exceeds limit"):
        pictures.read(tmp_path / "a.png")


def test_resizing_is_that_of_torchvision():
    """Resize, which takes the shorter side, and CenterCrop; at a scale at which neither rounds a size."""
    from torchvision.transforms import v2

    pixels = np.random.default_rng(0).integers(0, 256, (3, 84, 56), np.uint8)
    theirs = v2.Compose([v2.Resize(28, antialias=True), v2.CenterCrop(28)])(picture(pixels))
    ours = pictures.resized(pixels, (28, 28))
    assert np.abs(ours.astype(int) - np.moveaxis(np.asarray(theirs), -1, 0)).max() <= 1


@given(hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_an_image_has_the_size_that_is_asked_for_and_keeps_its_levels(shape, size):
    assert (pictures.resized(np.full(shape, 77, np.uint8), size) == np.full(size, 77)).all()
    as_it_is = np.arange(np.prod(shape), dtype=np.uint64).astype(np.uint8).reshape(shape)
    assert pictures.resized(as_it_is, shape) is as_it_is


def test_the_middle_is_kept_where_the_aspect_ratio_changes():
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    assert (pictures.resized(wide, (10, 10)) == 200).all()
    assert (pictures.resized(wide.T, (5, 5))[1:-1] == 200).all()


# folders


@pytest.fixture
def root(tmp_path):
    """Pictures of two classes, 3 and 2 to train on, and 1 and 2 to test; each is of its number in one colour."""
    counts = {"train": {"cat": 3, "dog": 2}, "test": {"cat": 1, "dog": 2}}
    number = 0
    for side, classes in counts.items():
        for name, count in classes.items():
            for _ in range(count):
                number += 10
                write(tmp_path / f"own/{side}/{name}/{number:03}.png", number)
    return tmp_path / "own"


def write(file, level, size=(6, 8), colour=False):
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(size, level, np.uint8)
    pixels[0, 0] = 255
    picture(np.stack([pixels, pixels, pixels // 2]) if colour else pixels).save(file)


def asked(path, **more):
    return {"name": "own", "path": str(path), "validation_images": 1} | more


def levels(images):
    return images[..., -1, -1].tolist()


def test_classes_are_the_names_of_folders_in_their_order(root):
    own = readers.read(root)
    assert (levels(own.train_images), own.train_labels.tolist()) == ([10, 20, 30, 40, 50], [0, 0, 0, 1, 1])
    assert (levels(own.test_images), own.test_labels.tolist()) == ([60, 70, 80], [0, 1, 1])
    assert own.class_names == ("cat", "dog")
    assert own.train_images.shape == (5, 6, 8)


def test_a_class_has_its_label_in_both_sets_also_where_one_set_has_it_not(root):
    write(root / "test/ant/1.png", 90)
    own = readers.read(root)
    assert own.class_names == ("ant", "cat", "dog")
    assert own.train_labels.tolist() == [1, 1, 1, 2, 2]
    assert own.test_labels.tolist() == [0, 1, 2, 2]


def test_a_folder_through_the_stage_keeps_the_names_of_classes(root, tmp_path, capsys):
    config = json.dumps({"dataset": asked(root)})
    assert main(["dataset", "--config", config, "--threads", "2", str(tmp_path / "dataset.npz")]) == 0
    assert capsys.readouterr().err == ""
    facts, again = json.loads((tmp_path / "dataset.json").read_text()), dataset.load(tmp_path / "dataset.npz")
    assert facts["class_names"] == ["cat", "dog"]
    assert again.class_names == ("cat", "dog")
    assert (facts["train_images"], facts["validation_images"], facts["test_images"]) == (4, 1, 3)
    assert source.extent(asked(root)) == ((4, 6, 8), 3) == (again.train_images.shape, len(again.test_images))


def test_pictures_without_classes_have_no_labels(tmp_path):
    for level in (10, 20, 30):
        write(tmp_path / f"train/{level}.png", level)
        write(tmp_path / f"test/{level}.png", level + 5)
    own = readers.read(tmp_path)
    assert levels(own.train_images) == [10, 20, 30]
    assert own.train_labels is own.test_labels is own.class_names is None


def test_threads_change_nothing(root):
    for level in range(100, 250):
        write(root / f"train/cat/{level}.png", level)
    alone, together = readers.read(root), readers.read(root, threads=3)
    assert together.sha256 == alone.sha256
    assert levels(alone.train_images) == [10, 20, 30, *range(100, 250), 40, 50]


def test_hidden_files_are_no_pictures_and_folders_within_a_class_belong_to_it(root):
    for name in (
        "train/cat/._010.png",
        "train/.DS_Store",
        "train/cat/.thumbnails/1.png",
        ".git/x.png",
        "train/.x/1.png",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"no picture")
    write(root / "train/cat/more/5.PNG", 5)
    (root / "train/dog/again").symlink_to(root / "train/dog")  # leads back
    (root / "train/emu").symlink_to(root / "test/cat")
    own = readers.read(root)
    assert levels(own.train_images) == [10, 20, 30, 5, 40, 50, 60]
    assert own.train_labels.tolist() == [0, 0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("at", ["train/cat/000.png", "test/dog/999.png"])
def test_one_picture_in_colour_makes_images_in_colour(root, at):
    write(root / at, 100, colour=True)
    own = readers.read(root)
    assert own.image_shape == (3, 6, 8)
    images = np.concatenate([own.train_images, own.test_images])
    assert sorted(map(tuple, images[:, :, -1, -1].tolist())) == sorted(
        [(100, 100, 50)] + [(level,) * 3 for level in range(10, 90, 10)]
    )


def test_pictures_of_several_sizes_are_refused_by_name_or_resized(root):
    write(root / "train/dog/041.png", 41, (12, 9))
    with pytest.raises(UserError, match=r"train/dog/041\.png: is 12×9, where \S+/010\.png is 6×8; dataset\.resize"):
        source.load(asked(root))
    for resize, size in ((5, (5, 5)), ([4, 7], (4, 7))):
        own = source.load(asked(root, resize=resize))
        assert own.image_shape == size == source.extent(asked(root, resize=resize))[0][1:]
        assert len(own.train_images) == 5
    assert source.load(asked(root, resize=8, pooling=2)).image_shape == (4, 4)


def test_any_dataset_is_resized(tmp_path):
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (count, 3, 12, 16), np.uint8) for count in (20, 5))
    np.savez(tmp_path / "own.npz", train_images=train, test_images=test)
    config = asked(tmp_path / "own.npz", resize=6)
    own = source.load(config, threads=2)
    np.testing.assert_array_equal(own.test_images, [pictures.resized(image, (6, 6)) for image in test])
    assert source.extent(config) == ((19, 3, 6, 6), 5) == (own.train_images.shape, 5)
    with pytest.raises(UserError, match=r"dataset\.resize: the distribution of sprites is known"):
        source.extent({"name": "sprites", "path": None, "resize": 8})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "test").rename(root / "val"), r"own: has no folder test; there are train, val"),
        (lambda root: (root / "train/bee").mkdir(), r"train/bee: has no pictures; their names end on \.png"),
        (lambda root: (root / "train/bee/.x").mkdir(parents=True), r"train/bee: has no pictures"),
        (lambda root: write(root / "train/1.png", 1), r"train/1\.png: lies beside the folders of classes, such as cat"),
        (lambda root: (root / "train/cat/010.png").write_bytes(b"x"), r"train/cat/010\.png: not a sound picture"),
    ],
)
def test_a_folder_that_is_nearly_right_is_refused_in_one_line(root, change, message):
    change(root)
    with pytest.raises(UserError, match=message):
        readers.read(root)


def test_both_sets_have_classes_or_neither(root, tmp_path):
    for name in ("cat", "dog"):
        for file in (root / f"test/{name}").iterdir():
            file.rename(root / f"test/{file.name}")
        (root / f"test/{name}").rmdir()
    with pytest.raises(UserError, match=r"own/test: has no folders of classes, and the other set has some"):
        readers.read(root)


def test_what_is_not_read_is_said_and_labels_that_are_not_read_are_refused(root, caplog):
    (root / "train/cat/notes.txt").touch()
    (root / "train/cat/moving.gif").touch()
    (root / "labels.csv").touch()
    readers.read(root)
    (line,) = caplog.messages
    assert line == f"{root}: not read: labels.csv, train/cat/moving.gif, train/cat/notes.txt"
    for side in ("train", "test"):
        for place, file in enumerate(sorted((root / side).rglob("*.png"))):
            file.rename(root / side / f"{place}.png")
        for name in ("cat", "dog"):
            for file in (root / side / name).iterdir():
                file.unlink()
            (root / side / name).rmdir()
    with pytest.raises(
        UserError, match=r"own: labels\.csv looks like labels, and is not read; labels are the names of"
    ):
        readers.read(root)


def test_pictures_that_do_not_fit_into_memory_are_refused_before_they_are_read(root, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: namedtuple("Memory", "available")(8 * 6 * 8 - 1))
    with pytest.raises(UserError, match=r"an array of 8×6×8 bytes: takes"):
        readers.read(root)


def test_a_plan_reads_the_first_picture_alone(root):
    (root / "train/dog/050.png").write_bytes(b"no picture")
    assert source.extent(asked(root)) == ((4, 6, 8), 3)


def test_pictures_that_change_are_another_study(root):
    """Snakemake runs the stage again where this digest is another."""
    states = [folders.state(root)]
    assert folders.state(root) == states[0]
    for change in (
        lambda: write(root / "train/cat/010.png", 11, (7, 8)),
        lambda: os.utime(root / "train/cat/020.png", (1, 1)),
        lambda: (root / "train/cat/030.png").rename(root / "train/dog/030.png"),
        lambda: (root / "test/cat/060.png").unlink(),
        lambda: (root / "test/cat/link.png").symlink_to("nowhere"),
    ):
        change()
        states.append(folders.state(root))
    assert len(set(states)) == len(states)
    (root / "train/.hidden").touch()
    assert folders.state(root) == states[-1]
