"""What stages record, and how it reaches MLflow."""

import os

# Whoever talks to MLflow imports something of this package first. MLflow itself would send again what a slow server
# already took, and make a run twice; sync tries again by itself, after it has looked what is there.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # the address of a run, with the server's password
