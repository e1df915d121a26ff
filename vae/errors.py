"""The one exception whose message is meant for the user."""


class UserError(Exception):
    """Bad input: the message says in one line what is wrong, where, and what to do."""
