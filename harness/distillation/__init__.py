"""Learning from the dense network while retraining."""
