"""Knowledge distillation: plain functions on arrays and Keras models."""
