"""A replay of recorded RLBench episodes that answers as RLBench and PyRep do, in each of their three dialects.

`modules.make_replay` puts it in the place of the two packages; `recorded` reads what was recorded, `simulator` is what
stands for CoppeliaSim, `dialects` gives it the classes, signatures and exceptions of upstream, PerAct's fork and
GNFactor's fork. Written from the signatures in the contract table, not from their sources.
"""
