"""The outer ring: DVC stages, Prefect flows, MLflow tracking and registry, command line."""
