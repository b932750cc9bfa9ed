"""Growth detection kept honest: four suites of recordings, one scorer, any program of the replay contract."""
