"""Two ways to write one function are one function, forward and backward, up to rounding."""

import numpy as np
import pytest
from support import examples

import tinygraph as tg
from tinygraph.errors import GradientMismatch
from tinygraph.testing import equivalent_test

SMALL = {"N": (1, 5), "C": (1, 4)}

test_fused_batch_norm = equivalent_test(tg.batch_norm, tg.fused.batch_norm, x="N C", gamma="C", beta="C")
test_fused_batch_norm_in_float32 = equivalent_test(
    tg.batch_norm, tg.fused.batch_norm, x="N C", gamma="C", beta="C", dtype=np.float32
)
test_fused_batch_norm_of_images = examples(50)(
    equivalent_test(tg.batch_norm, tg.fused.batch_norm, x="N C ...", gamma="C", beta="C", dims=SMALL)
)
test_without_parameters = examples(50)(equivalent_test(tg.batch_norm, tg.fused.batch_norm, x="N C"))


def normalised(x, gamma, beta):
    """Layer normalisation by the formulas of batch normalisation, on the transpose."""
    return tg.batch_norm(x.T).T * gamma + beta


test_layer_norm = equivalent_test(tg.layer_norm, normalised, x="N C", gamma="C", beta="C")
test_silu = equivalent_test(tg.silu, lambda x: x * tg.sigmoid(x), x="N C")
test_std = examples(50)(
    equivalent_test(
        lambda x: tg.std(x, axis=0),
        lambda x: tg.norm(x - tg.mean(x, axis=0), axis=0) / np.sqrt(len(x)),
        x="N C",
        regimes=("generic", "offset"),
        dims={"N": (2, 6)},
    )
)
test_log_softmax = examples(50)(
    equivalent_test(
        tg.log_softmax,
        lambda x: x - tg.logsumexp(x, axis=-1, keepdims=True),
        x="N C",
        regimes=("generic", "degenerate"),
    )
)
test_matmul = examples(50)(
    equivalent_test(lambda a, b: a @ b, lambda a, b: tg.sum(a[:, :, None] * b[None], axis=1), a="N M", b="M K")
)


@pytest.mark.parametrize("eps", [2e-5, 0.0])
def test_another_epsilon_is_found(eps):
    other = equivalent_test(tg.batch_norm, lambda x: tg.fused.batch_norm(x, eps=eps), x="N C")
    with pytest.raises(GradientMismatch):
        other()
