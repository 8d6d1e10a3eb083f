"""Tests of *Account for a layer* that students do not see."""

# leakaccountxq

from typing import Any

from attnlib import cost
from tools.assignments.harness import near, test

# attnlib.cost is the reference.
PARTS = ("projections", "scores", "values", "output")


def layer(given: dict[str, Any], causal: bool) -> tuple[tuple[Any, ...], dict[str, int]]:
    """What the adapter gets for the layer of `given`, and what it has to return."""
    n, d, h, h_kv, d_k, d_ff, batch = (given["layer"][x] for x in ("n", "d", "h", "h_kv", "d_k", "d_ff", "batch"))
    attention = cost.multihead_attention(n, d, h, h_kv=h_kv, d_k=d_k, batch=batch)
    parts = {x: int(attention[x].matmul_flops) for x in PARTS}
    if causal:  # the library's plain program computes what it masks
        for part in ("scores", "values"):
            parts[part] = parts[part] // n**2 * int(cost.visible_pairs(n, n, causal=True))
    parts["feed_forward"] = int(cost.feed_forward(n, d, d_ff=d_ff, batch=batch).matmul_flops)
    return (n, d, h, h_kv, d_k, d_ff, batch, causal), parts


@test("flops", points=1)
def projections(student: Any, given: dict[str, Any]) -> None:
    """The projections in and out of a layer with shared heads, a batch, and heads of any width."""
    sizes, parts = layer(given, False)
    found = student.run_layer_flops(*sizes)
    near(found["projections"], parts["projections"])
    near(found["output"], parts["output"])


@test("flops", points=1)
def core(student: Any, given: dict[str, Any]) -> None:
    """Scores and values of a batch of sequences, every pair."""
    sizes, parts = layer(given, False)
    found = student.run_layer_flops(*sizes)
    near(found["scores"], parts["scores"])
    near(found["values"], parts["values"])


@test("flops", points=1)
def causal_pairs(student: Any, given: dict[str, Any]) -> None:
    """With a causal mask the visible pairs count, the diagonal included, and nothing else changes."""
    sizes, parts = layer(given, True)
    found = student.run_layer_flops(*sizes)
    for part in parts:
        near(found[part], parts[part])


@test("flops", points=1)
def inner_width(student: Any, given: dict[str, Any]) -> None:
    """The feed-forward layer, for any inner width."""
    sizes, parts = layer(given, False)
    near(student.run_layer_flops(*sizes)["feed_forward"], parts["feed_forward"])


@test("memory", points=1)
def weights_of_a_layer(student: Any, given: dict[str, Any]) -> None:
    """The weights of a large layer."""
    n, h, batch = given["layer"]["n"], given["memory"]["h"], given["memory"]["batch"]
    written = int(cost.attention(n, 64, h=h, batch=batch, dtype="float32")["softmax"].bytes_written)
    near(student.run_weights_bytes(n, h, batch, 4), written)
    near(student.run_weights_bytes(n, h, batch, 2), written // 2)


@test("memory", points=1)
def longest_of_the_story(student: Any, given: dict[str, Any]) -> None:
    """The longest text for the memory of the problem, in its number of copies and in one more."""
    m = given["memory"]
    for copies in (m["copies"], m["copies"] + 1):
        found = student.run_longest(m["gib"] * 2**30, m["h"], m["batch"], m["itemsize"], copies)
        near(found, found // 1)
        held, next_one = (copies * m["batch"] * m["h"] * n * n * m["itemsize"] for n in (int(found), int(found) + 1))
        assert held <= m["gib"] * 2**30 < next_one, f"{found} is not the longest"


@test("memory", points=1)
def last_byte(student: Any, given: dict[str, Any]) -> None:
    """A length that fills the memory fits, and with one byte less it does not."""
    m, n = given["memory"], given["memory"]["another_n"]
    full = 2 * m["batch"] * m["h"] * n**2 * m["itemsize"]
    near(student.run_longest(full, m["h"], m["batch"], m["itemsize"], 2), n)
    near(student.run_longest(full - 1, m["h"], m["batch"], m["itemsize"], 2), n - 1)


@test("training", points=1)
def backward_pass(student: Any, given: dict[str, Any]) -> None:
    """The backward pass has two products for each of the forward pass."""
    _, parts = layer(given, False)
    found = student.run_training_flops(parts, "nothing")
    near(found["backward"], 2 * sum(parts.values()))
    near(found["recomputed"], 0)


@test("training", points=1)
def computed_again(student: Any, given: dict[str, Any]) -> None:
    """What is computed again is the scores, or all of the layer."""
    _, parts = layer(given, True)
    near(student.run_training_flops(parts, "scores")["recomputed"], parts["scores"])
    near(student.run_training_flops(parts, "layer")["recomputed"], sum(parts.values()))


@test("training", points=1)
def kept_with_weights(student: Any, given: dict[str, Any]) -> None:
    """What the attention half keeps with the weights, with shared heads and a batch."""
    n, d, h, h_kv, d_k, _, batch, _ = layer(given, False)[0]
    kept = cost.multihead_attention(n, d, h, h_kv=h_kv, d_k=d_k, batch=batch)
    near(student.run_kept_numbers(n, d, h, h_kv, d_k, batch, "nothing"), int(kept.saved) // 4 - int(kept.parameters))


@test("training", points=1)
def kept_without_weights(student: Any, given: dict[str, Any]) -> None:
    """What the attention half keeps when scores, or the whole layer, are computed again."""
    n, d, h, h_kv, d_k, _, batch, _ = layer(given, False)[0]
    without = batch * n * (d + 2 * h * d_k + 2 * h_kv * d_k)
    near(student.run_kept_numbers(n, d, h, h_kv, d_k, batch, "scores"), without)
    near(student.run_kept_numbers(n, d, h, h_kv, d_k, batch, "layer"), batch * n * d)


def gpt(layers: int, d: int, d_ff: int, vocab: int, positions: int, n: int) -> dict[str, Any]:
    """The report of a model, from the cost models."""
    one = cost.multihead_attention(n, d, 1)
    core = layers * int(one["scores"].matmul_flops + one["values"].matmul_flops)
    inner = int(cost.feed_forward(n, d, d_ff=d_ff).matmul_flops)
    rest = layers * (int(one.matmul_flops) + inner) - core + 2 * n * d * vocab
    biases = layers * (9 * d + d_ff) + 2 * d
    numbers = layers * (int(one.parameters) + 2 * d * d_ff) + biases + (vocab + positions) * d
    return {
        "parameters": numbers,
        "flops": core + rest,
        "core_share": core / (core + rest),
        "spreadsheet": 2 * n * numbers / (core + rest),
        "equal": -(-rest * n // core),
    }


XL = (48, 1600, 6400, 50257)


@test("model", points=1)
def other_parameters(student: Any, given: dict[str, Any]) -> None:
    """The parameters of GPT-2 XL, and of a model of another shape."""
    near(student.run_parameters(*XL, 1024), 1_557_611_200)
    shape = tuple(given["model"].values())
    near(student.run_parameters(*shape[:-1]), gpt(*shape)["parameters"])


@test("model", points=1)
def two_lengths(student: Any, given: dict[str, Any]) -> None:
    """FLOPs of GPT-2 XL, and the share of the core, at both lengths of the story."""
    for n in (given["short"], given["long"]):
        found, wanted = student.run_report(*XL, max(1024, n), n), gpt(*XL, max(1024, n), n)
        near(found["flops"], wanted["flops"])
        near(found["core_share"], wanted["core_share"])


@test("model", points=1)
def spreadsheet(student: Any, given: dict[str, Any]) -> None:
    """How far the spreadsheet's line is from the count, at both lengths and for another model."""
    cases = [(*XL, max(1024, n), n) for n in (given["short"], given["long"])] + [tuple(given["model"].values())]
    for case in cases:
        near(student.run_report(*case)["spreadsheet"], gpt(*case)["spreadsheet"], rel=1e-6)


@test("model", points=1)
def equal_length(student: Any, given: dict[str, Any]) -> None:
    """The length from which the core takes at least as much as the rest, for two models, at any n."""
    for case in ((*XL, 1024, given["short"]), tuple(given["model"].values())):
        near(student.run_report(*case)["equal"], gpt(*case)["equal"])
