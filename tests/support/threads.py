"""Many threads at the same thing at the same time."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

THREADS = 8


def together(work, threads=THREADS):
    """``[work(0), work(1), …]``, each in a thread of its own; all begin at once, and take turns every microsecond."""
    start, before = threading.Barrier(threads), sys.getswitchinterval()

    def begin(k):
        start.wait()
        return work(k)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(begin, range(threads)))
    finally:
        sys.setswitchinterval(before)
