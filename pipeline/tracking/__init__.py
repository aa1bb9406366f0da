"""What stages record, and how it reaches MLflow."""
