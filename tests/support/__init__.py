"""What the tests share: draws from the registry, BatchNorms to try, sabotage."""

from hypothesis import settings
from hypothesis import strategies as st

seeds = st.integers(0, 2**32 - 1)


def examples(n):
    """``n`` examples in an ordinary run, as many times more as the profile has more than 100."""
    return settings(max_examples=max(1, n * settings().max_examples // 100))
