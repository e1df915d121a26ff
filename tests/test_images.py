"""Pictures as an encoder takes them: the same grey levels, whatever they are saved as, or a line that says why not."""

import struct
import zlib

import numpy as np
import pytest

from export.images import open_images
from vae.errors import UserError


def png(bits, kind, rows, **chunks):
    """A PNG of rows of samples, of a depth and a colour type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    width = len(rows[0]) * 8 // (bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind])
    parts = {"IHDR": struct.pack(">2I5B", width, len(rows), bits, kind, 0, 0, 0), **chunks}
    parts |= {"IDAT": zlib.compress(b"".join(b"\0" + row for row in rows)), "IEND": b""}
    framed = ((name.encode() + content, len(content)) for name, content in parts.items())
    return SIGNATURE + b"".join(
        struct.pack(">I", length) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk, length in framed
    )


SIGNATURE = b"\x89PNG\r\n\x1a\n"
LEVELS = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
HALVES = np.repeat(np.repeat([[0, 255], [255, 0]], 4, 0), 4, 1).astype(np.uint8)
OPAQUE = np.full((8, 8), 255, np.uint8)
GREYS = bytes(np.repeat(np.arange(256, dtype=np.uint8), 3))  # a palette


def wide(*planes):
    """Rows of samples of 16 bits whose upper 8 are those of the planes, one after the other."""
    return [
        row.tobytes() for row in (np.stack(planes, -1) * np.uint16(256) + np.uint16(77)).astype(">u2").reshape(8, -1)
    ]


def rows(*planes):
    return [row.tobytes() for row in np.stack(planes, -1).reshape(8, -1)]


def packed(levels, bits):
    """Rows of samples of fewer than 8 bits."""
    samples = np.unpackbits(levels[..., None], axis=2)[..., 8 - bits :]
    return [row.tobytes() for row in np.packbits(samples.reshape(8, -1), axis=1)]


SOUND = {
    "8 bits": (png(8, 0, rows(LEVELS)), LEVELS),
    "16 bits": (png(16, 0, wide(LEVELS)), LEVELS),
    "4 bits": (png(4, 0, packed(LEVELS // 16, 4)), LEVELS // 16 * 17),
    "2 bits": (png(2, 0, packed(LEVELS // 64, 2)), LEVELS // 64 * 85),
    "1 bit": (png(1, 0, packed(HALVES // 255, 1)), HALVES),
    "RGB": (png(8, 2, rows(LEVELS, LEVELS, LEVELS)), LEVELS),
    "RGB of 16 bits": (png(16, 2, wide(LEVELS, LEVELS, LEVELS)), LEVELS),
    "palette": (png(8, 3, rows(LEVELS), PLTE=GREYS), LEVELS),
    "palette of 2 bits": (png(2, 3, packed(LEVELS // 64, 2), PLTE=GREYS[-12:]), LEVELS // 64 + 252),
    "palette of 1 bit": (png(1, 3, packed(HALVES // 255, 1), PLTE=b"\7\7\7\xf0\xf0\xf0"), np.where(HALVES, 240, 7)),
    "palette, opaque": (png(8, 3, rows(LEVELS), PLTE=GREYS, tRNS=b"\xff" * 256), LEVELS),
    "palette, one unused entry transparent": (png(8, 3, rows(LEVELS), PLTE=GREYS, tRNS=b"\xff\0"), LEVELS),
    "grey, opaque": (png(8, 4, rows(LEVELS, OPAQUE)), LEVELS),
    "grey of 16 bits, opaque": (
        png(16, 4, [r.replace(b"\xff\x4d", b"\xff\xff") for r in wide(LEVELS, OPAQUE)]),
        LEVELS,
    ),
    "RGBA, opaque": (png(8, 6, rows(LEVELS, LEVELS, LEVELS, OPAQUE)), LEVELS),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_picture_of_grey_levels_is_their_pixels_whatever_it_is_saved_as(tmp_path, name):
    raw, wanted = SOUND[name]
    (tmp_path / "x.PNG").write_bytes(raw)
    for shape in ((8, 8), (1, 8, 8), (3, 8, 8)):
        for place in (tmp_path, tmp_path / "x.PNG"):
            (found,) = next(open_images(place, shape).chunks(9))
            assert (found.dtype, found.shape) == (np.uint8, shape)
            np.testing.assert_array_equal(found, np.broadcast_to(wanted, shape))


TRANSPARENT = {
    "grey and alpha": (png(8, 4, rows(OPAQUE, LEVELS)), LEVELS),
    "RGBA": (png(8, 6, rows(LEVELS, LEVELS, LEVELS, HALVES)), np.where(HALVES, LEVELS, 0)),
    "one entry of a palette": (
        png(8, 3, rows(LEVELS), PLTE=GREYS, tRNS=b"\xff" * 8 + b"\0"),
        np.where(LEVELS == 8, 0, LEVELS),
    ),
    "a level": (png(8, 0, rows(LEVELS), tRNS=b"\0\4"), np.where(LEVELS == 4, 0, LEVELS)),
    "a colour": (png(8, 2, rows(LEVELS, LEVELS, LEVELS), tRNS=b"\0\4\0\4\0\4"), np.where(LEVELS == 4, 0, LEVELS)),
}


@pytest.mark.parametrize("name", TRANSPARENT)
@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8)])
def test_what_is_transparent_lies_on_black_as_in_training(tmp_path, name, shape):
    raw, wanted = TRANSPARENT[name]
    (tmp_path / "x.png").write_bytes(raw)
    (found,) = next(open_images(tmp_path, shape).chunks(9))
    np.testing.assert_array_equal(found, np.broadcast_to(wanted, shape))


def test_a_picture_of_which_black_leaves_nothing_is_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(png(8, 6, rows(0 * LEVELS, 0 * LEVELS, 0 * LEVELS, LEVELS)))
    with pytest.raises(UserError, match=r"x.png: is all of one colour on black: its ink is in its transparency"):
        next(open_images(tmp_path, (8, 8)).chunks(9))


def test_a_picture_in_colour_is_for_an_encoder_of_colours(tmp_path):
    (tmp_path / "x.png").write_bytes(png(8, 2, rows(LEVELS, 0 * LEVELS, LEVELS)))
    with pytest.raises(UserError, match=r"x.png: is in colour, the encoder takes grey levels \[8, 8\]"):
        next(open_images(tmp_path, (8, 8)).chunks(9))
    (found,) = next(open_images(tmp_path, (3, 8, 8)).chunks(9))
    np.testing.assert_array_equal(found, [LEVELS, 0 * LEVELS, LEVELS])
    with pytest.raises(UserError, match=r"x.png: is a picture, the encoder takes \[4, 8, 8\]; give arrays"):
        next(open_images(tmp_path, (4, 8, 8)).chunks(9))
