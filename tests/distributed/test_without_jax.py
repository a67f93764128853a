"""Without jax the package loads, checkpoints are written, and an error names the extra."""

from support.processes import run

CODE = """
import sys
sys.modules["jax"] = None
import numpy as np
from tinygraph import checkpoint, distributed
checkpoint.save(sys.argv[1], model=np.ones(2))
for call in (distributed.initialize, lambda: distributed.mesh(), lambda: distributed.replicate((), None)):
    try:
        call()
    except distributed.processes.MissingExtra as error:
        print(error)
print(hasattr(distributed, "launch"))
"""


def test_the_extra_is_named(tmp_path):
    (done,) = run(["-c", CODE, tmp_path / "file"])
    assert done.code == 0, done
    remedy = 'jax is not installed; run: pip install "tinygraph[jax]"'
    assert done.out.splitlines() == [
        f"initialize: {remedy}",
        f"distributed: {remedy}",
        f"distributed: {remedy}",
        "False",
    ]
    assert (tmp_path / "file").exists()
