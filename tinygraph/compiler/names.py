"""Words of a generated text: names for what users named, and for what has none."""

from __future__ import annotations

import keyword
import unicodedata
from collections import Counter
from collections.abc import Iterable

_WORDS = {
    "\u2212": "_minus_",
    "·": "_times_",
    "×": "_times_",
    "+": "_plus_",
    "/": "_over_",
    "\u0302": "hat",
    "\u0304": "bar",
}


def identifier(text: str) -> str:
    """A user's name as one of Python, in ASCII: ``μ`` is ``mu``, ``x̂`` is ``xhat``; nothing if there is no such.

    >>> [identifier(text) for text in ("σ²", "x−μ", "layer.weight")]
    ['sigma2', 'x_minus_mu', 'layer_weight']
    """
    letters = []
    for c in unicodedata.normalize("NFKD", text):
        name = unicodedata.name(c, "")
        if c.isascii():
            letters.append(c if c.isalnum() else "_")
        elif name.startswith(("GREEK SMALL LETTER ", "GREEK CAPITAL LETTER ")):
            letters.append(name.split()[-1].lower())
        else:
            letters.append(_WORDS.get(c, "_"))
    word = "".join(letters).strip("_")
    return word if word.isidentifier() else ""


def one_line(text: str) -> str:
    """A user's words as a comment has them: nothing in them ends it."""
    return "".join(c if c.isprintable() else " " for c in text)


class Names:
    """What is a name already, in one text: words of Python, ``np``, the function itself, and what is given."""

    def __init__(self, given: Iterable[str]) -> None:
        self.taken = {"np", "compiled", *keyword.kwlist, *given}
        self._counts: Counter[str] = Counter()

    def free(self, word: str) -> str:
        """The word, or with a number behind it, from now on a name."""
        name = word
        while name in self.taken:
            self._counts[word] += 1
            name = f"{word}_{self._counts[word]}"
        self.taken.add(name)
        return name
