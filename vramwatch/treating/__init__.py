"""What is done to have memory given back: decided at every poll, begun once it is stored, verified."""
