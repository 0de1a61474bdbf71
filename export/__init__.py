"""Trained model to production."""
