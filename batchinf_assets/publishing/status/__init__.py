"""What is known of each window."""
