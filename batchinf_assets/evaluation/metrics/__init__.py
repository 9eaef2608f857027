"""What predictions are measured by: figures with their intervals, by kind of prediction."""
