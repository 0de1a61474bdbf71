"""Files -> image-text pairs with their splits: the paper's benchmarks, and a user's own data."""
