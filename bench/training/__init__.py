"""How fast LeNet-5 trains here, beside the references' own recipe."""
