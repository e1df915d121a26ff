"""The one exception whose message is meant for the user."""

LONGEST = 1000


class UserError(Exception):
    """Bad input: the message says in one line what is wrong, where, and what to do.

    It may quote what a stranger wrote. So line breaks and whatever else is not printed, such as a terminal's escapes,
    become spaces, and of a message of more than `LONGEST` characters the middle is left out.
    """

    def __init__(self, message: str):
        half = LONGEST // 2
        short = message if len(message) <= LONGEST else f"{message[: half - 3]} … {message[-half:]}"
        super().__init__("".join(char if char.isprintable() else " " for char in short))
