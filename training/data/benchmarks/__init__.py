"""The paper's benchmarks, from the files their community publishes."""
