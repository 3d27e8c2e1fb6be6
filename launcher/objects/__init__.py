"""What the ``storage`` verbs do with objects: list, copy, synchronise, remove; no parsing of words, no printing."""
