"""The one exception whose message is meant for the user."""

LONGEST = 1000


def lacking(what: str, error: ModuleNotFoundError, extra: str = "study") -> str:
    """A line that says which extra of this package `what` needs; the error itself, where it is one of ours."""
    if (error.name or "vae").split(".")[0] in ("vae", "export"):
        raise error
    return f"{what} needs {error.name}, which is not installed: pip install '.[{extra}]' in a checkout brings it"


class UserError(Exception):
    """Bad input: the message says in one line what is wrong, where, and what to do.

    It may quote what a stranger wrote. So line breaks and whatever else is not printed, such as a terminal's escapes,
    become spaces, and of a message of more than `LONGEST` characters the middle is left out.
    """

    def __init__(self, message: str):
        half = LONGEST // 2
        short = message if len(message) <= LONGEST else f"{message[: half - 3]} … {message[-half:]}"
        super().__init__("".join(char if char.isprintable() else " " for char in short))
