"""Commands that print the numbers of the README: `python -m benchmarks.<name>`."""
