"""Run simulated providers, each on a port of its own, with faults on demand."""

from turnout.simulator.launch import configure, run

__all__ = ["configure", "run"]
