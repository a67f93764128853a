"""Runnable examples; each one is a program of its own."""
