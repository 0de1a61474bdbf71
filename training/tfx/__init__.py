"""TFX's contract for trainers, without tfx."""
