"""Checks names that become part of a path or of a script."""

import re

LONGEST = 100
NAME = re.compile(r"[A-Za-z0-9_+=][A-Za-z0-9_+=.-]*")
RULE = (
    f"letters (a-z, A-Z), digits and _ + = . - are allowed, {LONGEST} characters at most, and the "
    "first one is neither . nor -"
)
# C0 and C1 controls, and Unicode line ends.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str) -> str:
    """Escapes characters of a text that control a terminal, end a line or change its direction.

    >>> print(printable("a\\x1b[2Jb\\n"), printable("größe ± 1"))
    a\\x1b[2Jb\\n größe ± 1
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\xa0" else char.encode("unicode_escape").decode()
        for char in text
    )


def check_name(key: str, value: object) -> str:
    """Returns the name as text.

    >>> check_name("name", "lr=0.1")
    'lr=0.1'

    Raises:
        ValueError: The name could lead to another folder, or be read as an option or by a shell.
    """
    name = str(value) if type(value) in (int, float) else value
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > LONGEST:
        raise ValueError(
            f"{key} must be a name, got {_short(value)}: {RULE}; other places are chosen with "
            "output_dir=PATH"
        )
    return name


def check_line(key: str, value: object) -> None:
    """Raises ValueError if the text would end the line of a script.

    Raises:
        ValueError: The text contains control characters.
    """
    if CONTROL.search(str(value)):
        raise ValueError(
            f"{key} must be one line without control characters, for it becomes a line of a "
            f"script, got {_short(value)}"
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
