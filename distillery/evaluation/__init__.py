"""What the models are worth on the test set: metrics, and the comparison of distilled students with the others."""
