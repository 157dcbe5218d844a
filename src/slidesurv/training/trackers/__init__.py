"""Programs that draw a training while it runs, one file each."""
