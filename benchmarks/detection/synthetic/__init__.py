"""Suite C: labelled servers, pure and seeded."""
