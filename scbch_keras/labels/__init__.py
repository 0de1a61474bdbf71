"""Multi-labels: their noise, the probability that each is true, and which of them are probably wrong. numpy only."""
