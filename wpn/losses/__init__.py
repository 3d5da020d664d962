"""Loss terms, one a file: pure functions of tensors, apart from any model call."""
