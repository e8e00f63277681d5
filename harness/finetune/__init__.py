"""Where retraining starts from: which weights, and which recipe from which epoch."""
