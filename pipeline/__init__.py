"""How a stage is run: parameters checked, stopped trainings resumed, results tracked."""
