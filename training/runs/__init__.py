"""A run: recipe, folder, training, evaluation, release."""
