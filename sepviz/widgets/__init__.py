"""The interactive views: the only place that imports ipywidgets and anywidget."""

from sepviz.widgets.guess import Guess
from sepviz.widgets.kernel_pad import KernelPad
from sepviz.widgets.live import LiveRun
from sepviz.widgets.player import Player

__all__ = ["Guess", "KernelPad", "LiveRun", "Player"]
