"""The lower bound as a program: a formula becomes vectors, the vectors tokens, and one call of attention decides.

The clauses may have any width. That no algorithm computes attention in time O(n^(2−ε)) on all inputs follows from the
orthogonal vectors conjecture, or from a hypothesis about formulas of any width. Both are unproved. The chapter "The
lower bound" says what is known, and when.
"""

from attnlib.hardness.cnf import (
    CNF,
    brute_force,
    every_assignment,
    falsified,
    parity,
    pigeonhole,
    planted_ksat,
    random_ksat,
    read_dimacs,
    write_dimacs,
)
from attnlib.hardness.decision import Decision, decide, find_witness, memory_needed, row_outputs
from attnlib.hardness.gadget import (
    Gadget,
    attend,
    causal_gadget,
    dummy_gadget,
    l2_attention,
    l2_gadget,
    project,
    tied_gadget,
    window_gadget,
)
from attnlib.hardness.paper import paper_bits, paper_decide, paper_gadget, paper_outputs, window_coverage
from attnlib.hardness.temperature import Temperature, rounding_slack, temperature
from attnlib.hardness.vectors import (
    bhfp_to_bhcp,
    closest_pair,
    furthest_pair,
    join_halves,
    orthogonal_pair,
    ov_to_bhfp,
    ov_to_tvpp,
    product_pair,
    split_and_list,
    worst_case,
)

__all__ = [
    "CNF",
    "Decision",
    "Gadget",
    "Temperature",
    "attend",
    "bhfp_to_bhcp",
    "brute_force",
    "causal_gadget",
    "closest_pair",
    "decide",
    "dummy_gadget",
    "every_assignment",
    "falsified",
    "find_witness",
    "furthest_pair",
    "join_halves",
    "l2_attention",
    "l2_gadget",
    "memory_needed",
    "orthogonal_pair",
    "ov_to_bhfp",
    "ov_to_tvpp",
    "paper_bits",
    "paper_decide",
    "paper_gadget",
    "paper_outputs",
    "parity",
    "pigeonhole",
    "planted_ksat",
    "product_pair",
    "project",
    "random_ksat",
    "read_dimacs",
    "rounding_slack",
    "row_outputs",
    "split_and_list",
    "temperature",
    "tied_gadget",
    "window_coverage",
    "window_gadget",
    "worst_case",
    "write_dimacs",
]
