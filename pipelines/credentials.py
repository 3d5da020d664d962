"""A server that does not know who asks, or does not let them, in one sentence."""

import os


def refusal(error: Exception) -> str | None:
    """What a client's exception says of credentials; None where it says something else."""
    code = getattr(error, "error_code", None)  # of MLflow
    if code == "UNAUTHENTICATED":
        return "MLflow does not know who asks; set or correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if code == "PERMISSION_DENIED":
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "you")
        return f"MLflow does not let {user} do this; ask its admin for the permission EDIT on the registered model"
    if getattr(getattr(error, "response", None), "status_code", None) == 401:  # of Prefect, by way of httpx
        return "Prefect does not know who asks; set or correct PREFECT_API_AUTH_STRING"
    return None
