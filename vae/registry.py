"""Named things of one kind, such as families of architectures: a registry refuses bad names and lists itself."""

import re
from typing import TypeVar

from vae.errors import UserError

T = TypeVar("T")


class Registry(dict[str, T]):
    """Entries by name, in the order in which they were added.

    `kind` is what an entry is called; `pattern` is a regular expression that its name has to match. Raises UserError
    for a name that does not, for one that is there already, and for an entry that is not known, with the list of those
    that are.
    """

    def __init__(self, kind: str, pattern: str = "[a-z][a-z0-9_]*"):
        super().__init__()
        self.kind, self.pattern = kind, pattern

    def add(self, name: str, entry: T) -> T:
        """Add an entry, and return it."""
        if not re.fullmatch(self.pattern, name):
            raise UserError(f"{name!r} cannot be the name of a {self.kind}: it has to match {self.pattern}")
        if name in self:
            raise UserError(f"{name!r} is the name of two {self.kind}s: choose another one")
        self[name] = entry
        return entry

    def __missing__(self, name: str) -> T:
        raise UserError(f"unknown {self.kind} {name}; known are {', '.join(self)}")
