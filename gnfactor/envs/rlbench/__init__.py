"""RLBench in CoppeliaSim, which come from their repositories and are imported where they are used.

What of RLBench and PyRep is called here stands in `protocols`; `contract.json` says what it looks like in upstream
RLBench, in PerAct's fork and in GNFactor's, and `tests/test_rlbench_contract.py` holds every call against both.
"""
