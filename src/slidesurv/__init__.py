"""slidesurv: survival prediction from whole-slide images, taught by genomes."""

__version__ = "0.1.0"
