"""What the models are worth: metrics and their comparison."""
