"""WPN unlearning: take harm out of a causal language model, and measure that it is gone and nothing else is."""
