"""Settings of runs that are simulated in no time."""

from angiomorph.simulate.settings import SimulationSettings

SETTINGS = SimulationSettings(
    size=64, frames=6, background=2, collimated=0.0, parts=0.0, objects=0.0, metal=0.0,
    relations=("LIN",), bits_stored=(12,),
)  # fmt: skip
