"""What Dagster's UI shows of the results of the layers below."""
