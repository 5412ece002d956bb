"""The interactive views: the only place that imports ipywidgets and anywidget."""

from sepviz.widgets.compare import Compare
from sepviz.widgets.explore import Explore
from sepviz.widgets.guess import Guess
from sepviz.widgets.kernel_pad import KernelPad
from sepviz.widgets.leaderboard import Leaderboard
from sepviz.widgets.live import LiveRun
from sepviz.widgets.player import Player
from sepviz.widgets.posterior import Posterior
from sepviz.widgets.sketch_pad import SketchPad
from sepviz.widgets.workbench import Workbench

__all__ = ["Compare", "Explore", "Guess", "KernelPad", "Leaderboard", "LiveRun", "Player",
           "Posterior", "SketchPad", "Workbench"]
