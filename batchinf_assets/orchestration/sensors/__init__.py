"""What is run by itself: what landed, what is due, what is to be done again."""
