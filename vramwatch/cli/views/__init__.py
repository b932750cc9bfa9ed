"""What people see: pure functions from records to lines, and one thin edge to the terminal."""
