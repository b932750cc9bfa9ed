"""What vramwatch costs, beside its peers and beside the floor; README.md holds what was measured."""
