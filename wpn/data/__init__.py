"""Raw data, checked records, and batches."""

# the first ids of every organism's vocabulary; which of them a model uses depends on its architecture
SPECIAL_TOKENS = ["<|endoftext|>", "<pad>", "</s>"]
