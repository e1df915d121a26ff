"""Named things of one kind, such as families of architectures: a registry refuses bad names and lists itself."""

import re
from typing import TypeVar

from vae.errors import UserError

T = TypeVar("T")


class Registry(dict[str, T]):
    """Entries by name, in the order in which they were added.

    `kind` is what an entry is called, `kinds` what several are; `pattern` is a regular expression that its name has to
    match. Raises UserError for a name that does not, for one that is there already, and for an entry that is not known,
    with the list of those that are, and a `hint`.
    """

    def __init__(self, kind: str, pattern: str = "[a-z][a-z0-9_]*", kinds: str = "", hint: str = ""):
        super().__init__()
        self.kind, self.pattern, self.kinds, self.hint = kind, pattern, kinds or f"{kind}s", hint

    def add(self, name: str, entry: T) -> T:
        """Add an entry, and return it."""
        if not re.fullmatch(self.pattern, name):
            raise UserError(f"{name!r} cannot be the name of a {self.kind}: it has to match {self.pattern}")
        if name in self:
            raise UserError(f"{name!r} is the name of two {self.kinds}: choose another one")
        self[name] = entry
        return entry

    def __missing__(self, name: str) -> T:
        raise UserError(f"unknown {self.kind} {name}; known are {', '.join(self)}{self.hint}")
