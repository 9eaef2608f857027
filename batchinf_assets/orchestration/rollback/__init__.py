"""What Dagster shows of windows that were taken back, and the job that takes one back."""
