"""Oracles: what a derivative is, found without any rule of the engine.

``complex_numpy`` and ``decimal_numpy`` are array namespaces in which a traced graph runs;
``derivatives`` takes derivatives of such a run.
"""
