"""What dead runs left behind, and the sensor that has it finished or gives it up."""
