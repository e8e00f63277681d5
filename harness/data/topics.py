import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, pairwise
from typing import Annotated

import torch
from torch import Tensor

from harness.data.base import Split, Splits
from harness.data.shared.splits import PARTS
from harness.vocabulary.checks import check_declared

CONTEXT = "a whole number in [1, 4096]; characters per sample, write e.g. 64"
FRACTION = "a number in (0, 1); it is a fraction of the text, write e.g. 0.05"
VOCABULARY = "".join(map(chr, range(32, 127))) + "\n"
OTHER = len(VOCABULARY)  # every other character
CLASSES = OTHER + 1


# Once per process: a sweep's worker loads it for each of its runs.
@cache
def read_topics() -> str:
    """Returns the text of the help topics, by topic name, each paragraph at its first position.

    Topics contain one another: without this, a sixth of the test windows would be in the training
    text word for word.
    """
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name].strip("\n") for name in sorted(topics))
    return "\n\n".join(dict.fromkeys(text.split("\n\n")))


@dataclass(frozen=True)
class Topics:
    """Reads Python's own help topics (pydoc_data.topics) as characters: predict the next one.

    97 classes: printable ASCII, newline, and one for all other characters. Inputs are `context`
    character ids as float32, exact in every dtype of inputs; labels (samples, context) are the ids
    one character later, int64. Use task=language_modelling.

    train, validation, test: fractions of the text, consecutive stretches in this order, each
    cut into windows that do not overlap; what is left of a stretch is left out. The topics are in
    alphabetical order, so validation and test are about other topics than training.

    The text is another one in every version of Python, so results compare within one version
    only. `python` is that version, and so names the run: conf/ fills in the running one, e.g.
    3.11.7. None takes any, `digest` then tells texts apart. About 370,000 characters in Python
    3.11.

    Raises:
        ValueError: a value is out of range, the fractions are above 1 together, or python is not
            the version that runs.
    """

    context: Annotated[int, CONTEXT] = 64
    train: Annotated[float, FRACTION] = 0.9
    validation: Annotated[float, FRACTION] = 0.05
    test: Annotated[float, FRACTION] = 0.05
    python: str | None = None
    read: Callable[[], str] = field(default=read_topics, repr=False)

    def __post_init__(self) -> None:
        check_declared(self)
        # 0.55 + 0.34 + 0.11 is above 1 by rounding.
        if (total := self.train + self.validation + self.test) > 1 + 1e-9:
            raise ValueError(
                f"train + validation + test must be at most 1, got {total:g}; "
                "make one of them smaller"
            )
        if self.python not in (None, running := platform.python_version()):
            raise ValueError(
                f"python={self.python}, but this is Python {running}, whose text is another one; "
                f"start it with that Python, or write data.python={running}"
            )

    @property
    def digest(self) -> str:
        """Returns the SHA-256 of the text, in hex."""
        return hashlib.sha256(self.read().encode()).hexdigest()

    def load(self) -> Splits:
        """Returns the splits.

        Raises:
            ValueError: a part of the text is shorter than one window and the character after it.
        """
        ids = encoded(self.read())
        ends = [round(fraction * len(ids)) for fraction in accumulate(self._shares, initial=0.0)]
        stretches = [ids[start:end] for start, end in pairwise(ends)]
        for name, stretch in zip(PARTS, stretches, strict=True):
            if len(stretch) <= self.context:
                raise ValueError(
                    f"{name}={getattr(self, name)} is {len(stretch)} of {len(ids)} characters, and "
                    f"a window of context={self.context} needs {self.context + 1}; set a larger "
                    "fraction or a smaller context"
                )
        train, validation, test = (windows(stretch, self.context) for stretch in stretches)
        return Splits(train, validation, test, CLASSES)

    @property
    def _shares(self) -> tuple[float, float, float]:
        return self.train, self.validation, self.test


def encoded(text: str) -> Tensor:
    """Returns character ids (characters,), int64: 0 to 94 printable ASCII, 95 newline, 96 others.

    >>> encoded(" A~\\n\\u201c").tolist()
    [0, 33, 94, 95, 96]
    """
    ids = {character: number for number, character in enumerate(VOCABULARY)}
    return torch.tensor([ids.get(character, OTHER) for character in text], dtype=torch.int64)


def windows(ids: Tensor, context: int) -> Split:
    """Returns samples of `context` ids, end to end, labelled with the ids one position later.

    >>> split = windows(torch.arange(8), context=3)
    >>> split.inputs.tolist(), split.labels.tolist()
    ([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], [[1, 2, 3], [4, 5, 6]])
    """
    samples = (len(ids) - 1) // context
    inputs, labels = ids[: samples * context], ids[1 : samples * context + 1]
    return Split(inputs.view(samples, context).float(), labels.view(samples, context).clone())
