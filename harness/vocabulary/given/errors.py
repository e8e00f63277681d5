"""Says in one line what another's code raised."""


def first_line(error: BaseException) -> str:
    """Returns the first line of the message that is not empty; of none, the error's class.

    >>> first_line(RuntimeError("  shapes differ\\nat line 3")), first_line(KeyError())
    ('shapes differ', 'KeyError')
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)
