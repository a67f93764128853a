"""The Numba backend: elementwise work and the sums around it as one loop nest with several results."""
