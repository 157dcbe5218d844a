"""Every method of Table I as the literature computes it, on the weights of ours.

Written from the specification. A function takes one of our models and reads its weights and layers; where it differs
from the model's own ``forward`` is what the literature does otherwise: zero rows made, score maps kept, every tile
projected to keys and values, parts of a bag judged in a loop. A layer that both do alike is called and not repeated.
"""

__all__: list[str] = []
