"""Names that become part of a path or of a script: one rule for all of them."""

import re

LONGEST = 100
NAME = re.compile(r"[A-Za-z0-9_+=][A-Za-z0-9_+=.-]*")
RULE = (
    f"letters (a-z, A-Z), digits and _ + = . - are allowed, {LONGEST} characters at most, and the "
    "first one is neither . nor -"
)
# C0 and C1 controls, and what ends a line elsewhere.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str) -> str:
    """Text of a file or a config as it may be printed: no character that steers a terminal, ends a
    line or turns the direction of writing is left, but its escape.

    >>> print(visible("a\\x1b[2Jb\\n"), visible("größe ± 1"))
    a\\x1b[2Jb\\n größe ± 1
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one == "\xa0" else one.encode("unicode_escape").decode()
        for one in text
    )


def check_name(key: str, value: object) -> str:
    """The name, as text.

    >>> check_name("name", "lr=0.1")
    'lr=0.1'

    Raises:
        ValueError: it could lead to another folder, or be taken for an option or for shell.
    """
    name = str(value) if type(value) in (int, float) else value
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > LONGEST:
        raise ValueError(
            f"{key} must be a name, got {_short(value)}: {RULE}; other places are chosen with "
            "output_dir=PATH"
        )
    return name


def check_line(key: str, value: object) -> None:
    """
    Raises:
        ValueError: the text would end the line of the script that it is written into.
    """
    if CONTROL.search(str(value)):
        raise ValueError(
            f"{key} must be one line without control characters, for it becomes a line of a "
            f"script, got {_short(value)}"
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
