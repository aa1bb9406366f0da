"""What only students have: their training set, seeds, the choice of one."""
