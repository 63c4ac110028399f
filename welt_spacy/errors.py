"""What a user can get wrong, told in one line."""


class WeltError(ValueError):
    """A mistake in the input, the settings or the surroundings.

    The message is complete on its own: what is wrong, where (file and line,
    where there is one) and what to do. The command line prints it and exits
    with status 1; it never shows a traceback for this class.
    """
