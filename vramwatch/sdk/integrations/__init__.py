"""One line for those who serve with a framework; none of them is imported here."""
