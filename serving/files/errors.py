"""The one base of all errors that a person can mend.

Whoever talks to a person, as the command line and the app do, catches `UserError` and shows its message; any
other exception is a fault of this program and keeps its traceback.
"""


class UserError(Exception):
    """What cannot be done as asked; the message says what was expected, what came and what to do.

    Attributes:
        exit_code: with which the command line leaves.
    """

    exit_code = 1


class ImageError(UserError, ValueError):
    """A picture that cannot be read; the message is fit for its sender and names no path of the server."""
