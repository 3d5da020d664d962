"""The models of params.yaml's sections, strict and frozen.

They stand together here, and not beside what they configure, because the command line, the gate and the flows read
them too, and must not wait for torch.
"""
