"""Is the genome rebuilt: as a whole, gene by gene, and is it used?"""
