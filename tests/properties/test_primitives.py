"""Every primitive keeps what its record promises, as ``primitive_test`` tells a user who writes one."""

import pytest
from support import examples

from tinygraph.core.primitive import REGISTRY
from tinygraph.testing import check_primitive, primitive_test


@pytest.mark.parametrize("name", REGISTRY)
def test_a_primitive_keeps_its_laws(name):
    examples(2)(primitive_test(name))()


@pytest.mark.parametrize("name", REGISTRY)
def test_a_report_needs_no_hypothesis(name):
    report = check_primitive(name)
    assert report.ok, report
    assert report.verdict == "ok"
