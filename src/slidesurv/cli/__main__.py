"""``python -m slidesurv.cli``: the same front door."""

from slidesurv.cli.main import main

main()
