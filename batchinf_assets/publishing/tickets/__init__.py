"""What a person is asked to look at."""
