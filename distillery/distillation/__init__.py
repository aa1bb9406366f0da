"""What only distillation has: the distiller and the transfer set."""
