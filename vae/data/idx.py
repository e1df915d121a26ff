"""IDX files, plain or packed as .gz: the format of MNIST (Y. LeCun's page of MNIST)."""

import contextlib
import gzip
import io
import math
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vae.errors import UserError
from vae.files import check_memory

# Bytes that deflate, and so gzip, packs into one at most.
MOST_PACKED = 1032
UNSIGNED_BYTES = 0x08
GZIP = b"\x1f\x8b"


def is_packed(file: str | Path) -> bool:
    """Whether a file is a .gz, by its name."""
    return str(file).endswith(".gz")


def open_idx(file: str | Path) -> io.BufferedIOBase:
    """A file to read from, unpacked if it is a .gz."""
    return gzip.open(file) if is_packed(file) else open(file, "rb")


@contextlib.contextmanager
def named(file: str | Path) -> Iterator[None]:
    """Turn what goes wrong while reading `file` into one line that names it."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        advice = "; if it is not packed, take .gz off its name" if str(error).startswith("Not a gzipped") else ""
        raise UserError(f"{file}: truncated or not gzip ({error}){advice}") from None
    except OSError as error:
        raise UserError(f"{error.filename or file}: {error.strerror or error}") from None


def read_shape(stream: io.BufferedIOBase, file: str | Path) -> tuple[int, ...]:
    """The shape that the header of an IDX file of unsigned bytes promises; the stream is then at the first value.

    UserError names `file` if it is not such a file, has more than four dimensions, or is empty.
    """
    magic = stream.read(4)
    if magic[:2] == GZIP:
        raise UserError(f"{file}: not an IDX file, but one packed by gzip; put .gz at the end of its name")
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise UserError(f"{file}: not an IDX file" if magic else f"{file}: is empty")
    kind, dimensions = magic[2:]
    if kind != UNSIGNED_BYTES:
        raise UserError(f"{file}: IDX type 0x{kind:02x}, where unsigned bytes (0x08) are expected")
    if dimensions > 4:
        raise UserError(f"{file}: {dimensions} dimensions, where at most four are expected")
    lengths = stream.read(4 * dimensions)
    if len(lengths) < 4 * dimensions:
        raise UserError(f"{file}: truncated in its header")
    shape = struct.unpack(f">{dimensions}I", lengths)
    if not math.prod(shape):
        raise UserError(f"{file}: is empty (shape {list(shape)})")
    return shape


def read_idx(file: str | Path) -> np.ndarray:
    """The `uint8` array of an IDX file; UserError if it is unsound."""
    with named(file), open_idx(file) as stream:
        return parse_idx(stream, os.path.getsize(file) * (MOST_PACKED if is_packed(file) else 1), file)


def parse_idx(stream: io.BufferedIOBase, most: int, file: str | Path = "IDX data") -> np.ndarray:
    """The `uint8` array of an IDX file that has `most` bytes or fewer.

    The size that its header promises is checked against `most` and against the memory that is free, and no more than
    that size and one byte is read. UserError names `file` if it is unsound.
    """
    shape = read_shape(stream, file)
    wanted = math.prod(shape)
    promised = f"{list(shape)} takes {wanted} bytes"
    if wanted > most:
        raise UserError(f"{file}: truncated: {promised}, at most {most} are there")
    check_memory(wanted, file)
    raw = stream.read(wanted + 1)
    if len(raw) < wanted:
        raise UserError(f"{file}: truncated: {promised}, {len(raw)} are there")
    if len(raw) > wanted:
        raise UserError(f"{file}: too long: {promised}, more are there")
    return np.frombuffer(raw, np.uint8).reshape(shape)
