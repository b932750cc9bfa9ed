"""Ways to have memory given back, one file each; off until they are configured."""
