"""The built-in layout, layer by layer, for where there is no Graphviz, or it fails.

``measure`` knows how large text and nodes are; ``ranks`` gives every node its layer, ``strands`` finds
the chains that stay straight, ``across`` orders the layers and places what is in them, ``route`` draws
the curves, and ``page`` puts it together. It reads a View and knows nothing of colours.
"""
