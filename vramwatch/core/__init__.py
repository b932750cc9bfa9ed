"""All decisions, as pure functions over frozen records. Imports nothing that reads or acts."""
