"""Whatever can change a weight, of the teacher and of the students alike."""
