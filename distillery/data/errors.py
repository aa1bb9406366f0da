"""The error of invalid input."""


class InputError(Exception):
    """Invalid input: the text is one line that says where, what was found and what is accepted."""
