"""Graphs in other engines: the same nodes, run by other people's compilers."""
