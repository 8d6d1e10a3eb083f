"""The lower bound as a program: a formula becomes vectors, the vectors tokens, and one call of attention decides.

The clauses may have any width. That no algorithm computes attention in time O(n^(2−ε)) on all inputs follows from the
orthogonal vectors conjecture, or from a hypothesis about formulas of any width. Both are unproved. The chapter "The
lower bound" says what is known, and when.
"""

from attnlib.hardness.call import attend as attend
from attnlib.hardness.call import l2_attention as l2_attention
from attnlib.hardness.call import project as project
from attnlib.hardness.cnf import CNF as CNF
from attnlib.hardness.cnf import brute_force as brute_force
from attnlib.hardness.cnf import every_assignment as every_assignment
from attnlib.hardness.cnf import falsified as falsified
from attnlib.hardness.cnf import read_dimacs as read_dimacs
from attnlib.hardness.cnf import write_dimacs as write_dimacs
from attnlib.hardness.decision import Decision as Decision
from attnlib.hardness.decision import decide as decide
from attnlib.hardness.decision import find_witness as find_witness
from attnlib.hardness.decision import memory_needed as memory_needed
from attnlib.hardness.decision import row_outputs as row_outputs
from attnlib.hardness.families import parity as parity
from attnlib.hardness.families import pigeonhole as pigeonhole
from attnlib.hardness.families import planted_ksat as planted_ksat
from attnlib.hardness.families import random_ksat as random_ksat
from attnlib.hardness.gadget import Gadget as Gadget
from attnlib.hardness.gadget import causal_gadget as causal_gadget
from attnlib.hardness.gadget import dummy_gadget as dummy_gadget
from attnlib.hardness.gadget import l2_gadget as l2_gadget
from attnlib.hardness.gadget import tied_gadget as tied_gadget
from attnlib.hardness.gadget import window_gadget as window_gadget
from attnlib.hardness.paper import paper_bits as paper_bits
from attnlib.hardness.paper import paper_decide as paper_decide
from attnlib.hardness.paper import paper_gadget as paper_gadget
from attnlib.hardness.paper import paper_outputs as paper_outputs
from attnlib.hardness.paper import window_coverage as window_coverage
from attnlib.hardness.temperature import Temperature as Temperature
from attnlib.hardness.temperature import rounding_slack as rounding_slack
from attnlib.hardness.temperature import temperature as temperature
from attnlib.hardness.vectors import bhfp_to_bhcp as bhfp_to_bhcp
from attnlib.hardness.vectors import closest_pair as closest_pair
from attnlib.hardness.vectors import furthest_pair as furthest_pair
from attnlib.hardness.vectors import join_halves as join_halves
from attnlib.hardness.vectors import orthogonal_pair as orthogonal_pair
from attnlib.hardness.vectors import ov_to_bhfp as ov_to_bhfp
from attnlib.hardness.vectors import ov_to_tvpp as ov_to_tvpp
from attnlib.hardness.vectors import product_pair as product_pair
from attnlib.hardness.vectors import split_and_list as split_and_list
from attnlib.hardness.vectors import worst_case as worst_case
