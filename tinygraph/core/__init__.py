"""The engine: tensors, primitives, graphs and their traversal; it knows no op's mathematics."""
