"""The contract: what a method may see, what it gives, and what it may ask of a prior.

``Problem`` -> separator -> ``Step``s -> trace -> player, figure, table.
"""

from sepviz.core.errors import CONTROL, SepvizError, one_line, shown
from sepviz.core.medium import MEDIA, PICTURE, Medium, axes_from, spread
from sepviz.core.mixing import Mixing
from sepviz.core.parameters import (
    check_parameters,
    check_whole,
    name_of,
    parameter,
    parameters_of,
    settings_of,
    values_of,
    word,
)
from sepviz.core.problem import SEES, Examples, Problem, Truth
from sepviz.core.separator import (
    ORDERS,
    LatentModel,
    ScoreModel,
    Separator,
    folded,
    prior_of,
    takes,
)
from sepviz.core.step import GROUPS, NOTHING, Step

__all__ = [
    "CONTROL", "GROUPS", "MEDIA", "NOTHING", "ORDERS", "PICTURE", "SEES", "Examples",
    "LatentModel", "Medium", "Mixing", "Problem", "ScoreModel", "Separator", "SepvizError", "Step",
    "Truth", "axes_from", "check_parameters", "check_whole", "folded", "name_of",
    "one_line", "parameter", "parameters_of", "prior_of", "settings_of", "shown", "spread", "takes",
    "values_of", "word",
]
