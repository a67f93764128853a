"""The experiments of the documents that tinygraph began with, each one command.

``python -m examples.experiments.NAME [--data digits|mnist|cifar10] [--quick] [--out DIR] [--seed N]`` shows a
progress bar, saves a figure and its numbers, and says in one sentence what it found.
"""

import os

# The matrices are small: threads of BLAS cost more than they bring. NumPy reads this when it is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
