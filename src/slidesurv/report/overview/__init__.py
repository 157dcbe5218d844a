"""Methods × cohorts in one table, and the files it is written to."""
