"""`python -m attnlib model`: its numbers are those of `cost.serving`, its lines fit, and bad input is one line."""

import json
import subprocess
import sys

import pytest

from attnlib import cost
from attnlib.cli import main

H100 = cost.ACCELERATORS["H100"]
ASKED = ["llama-3-70b", "--context", "65536", "--batch", "16", "--device", "h100", "--devices", "4"]


def run(capsys, *arguments):
    assert main(["model", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "--json" in arguments or max(map(len, out.splitlines())) <= 80
    return out


def test_does_it_fit_and_what_to_quantise_first(capsys):
    said = run(capsys, *ASKED)
    assert "It does not fit: 46.3 GiB too much. Most is the cache." in said
    assert "Quantise the cache first" in said
    assert "both in fp8" in said
    assert "longer than the 8,192 positions" in said
    said = run(capsys, *ASKED, "--dtype", "fp8", "--kv-dtype", "fp8")
    assert "It fits: 10.2 GiB free." in said


def test_json_has_the_numbers(capsys):
    given = json.loads(run(capsys, *ASKED, "--json"))
    found = cost.serving(cost.MODELS["llama-3-70b"], 65_536, H100, batch=16, devices=4)
    assert given["parameters"] == 70_553_706_496
    assert (given["needed"], given["fits"]) == (found.needed, found.fits)
    assert given["cache"]["allocated"] == found.cache.allocated
    assert given["token"]["seconds"] == found.decode.seconds
    assert given["prefill"]["seconds"] == found.prefill.seconds
    assert given["alternatives"]["both in fp8"]["fits"]


@pytest.mark.parametrize("name", cost.MODELS)
def test_every_model_has_a_report(capsys, name):
    assert cost.MODELS[name].name in run(capsys, name, "--devices", "16", "--context", "3000")


def test_what_devices_hold_twice(capsys):
    assert "each is on several" in run(capsys, "llama-3-8b", "--devices", "16")
    assert "whole latent" in run(capsys, "deepseek-v3", "--devices", "16")
    # A device without bfloat16 computes in float16.
    assert "T4" in run(capsys, "GPT_2", "--device", "t4")


def test_ways_to_share(capsys):
    heads = run(capsys, "llama-3-8b", "--devices", "4")
    assert "(tensor=4)" in heads
    assert "for each token" in heads
    rows = run(capsys, "llama-3-8b", "--devices", "4", "--parallel", "data", "--batch", "8")
    assert "repeats the weights 4 times" in rows
    assert "a device sends" not in rows
    options = ["llama-3-8b", "--devices", "8", "--parallel", "tensor=4,sequence=2", "--json"]
    given = json.loads(run(capsys, *options, "--link", "pcie-5"))
    assert given["parallel"] == {"tensor": 4, "sequence": 2, "data": 1}
    found = cost.serving(
        *(cost.MODELS["llama-3-8b"], 8192, H100),
        devices=8,
        parallel="tensor=4,sequence=2",
        link=cost.LINKS["PCIe 5"],
    )
    assert (given["sent"], given["token"]["seconds"]) == (found.sent, found.decode.seconds)


TRAINED = ["llama-3.1-8b", "--train", "--batch", "32", "--context", "8192", "--devices", "8"]


def test_a_step_of_training(capsys):
    said = run(capsys, *TRAINED)
    assert "It does not fit: 205 GiB too much. Most is activations." in said
    assert "8 × H100 SXM (data=8, ZeRO stage 0), scores computed again" in " ".join(said.split())
    assert "MFU, at most" in said
    assert "Enough to fit, and fastest on a device: all of these." in said
    small = run(capsys, *TRAINED, "--micro", "1", "--zero", "2", "--recompute", "layers", "--link", "pcie-5")
    assert "It fits" in small
    assert "forward, 4 ×" in small
    assert "weights, not hidden" in small
    given = json.loads(run(capsys, *TRAINED, "--micro", "1", "--zero", "3", "--json"))
    found = cost.training(cost.MODELS["llama-3.1-8b"], 8192, H100, batch=32, micro=1, devices=8, zero=3)
    assert (given["needed"], given["fits"], given["state"]) == (found.needed, found.fits, found.state)
    assert (given["step_seconds"], given["utilisation"]) == (found.time.seconds, found.utilisation)
    assert sum(x["seconds"] for x in given["steps"]) == pytest.approx(found.time.seconds)
    assert given["alternatives"]["layers again"]["needed"] < given["needed"]
    # As many sequences as devices share, and float16 where there is no bfloat16.
    assert "4 × 1,024 positions, 1 of" in run(capsys, "gpt-2", "--train", "--devices", "4", "--device", "A100")
    assert "float16" in run(capsys, "gpt-2", "--train", "--device", "t4")


@pytest.mark.parametrize("name", cost.MODELS)
def test_every_model_can_be_trained(capsys, name):
    options = ["--train", "--devices", "16", "--parallel", "tensor=4,data=4", "--context", "3000", "--batch", "8"]
    assert f"{cost.MODELS[name].name}:" in run(capsys, name, *options)


def test_fit(capsys):
    given = json.loads(run(capsys, *ASKED, "--fit", "--json"))
    assert [(x["weights"], x["cache"]) for x in given["fits"]] == [
        ("bfloat16", "bfloat16"),
        ("bfloat16", "fp8"),
        ("fp8", "fp8"),
        ("int4", "int4"),
    ]
    options = {"weights": "fp8", "cache": "fp8", "devices": 4}
    llama = cost.MODELS["llama-3-70b"]
    assert given["fits"][2]["longest_context"] == cost.longest_context(llama, H100, batch=16, **options)
    assert given["fits"][2]["largest_batch"] == cost.largest_batch(llama, 65_536, H100, **options)
    assert f"{given['fits'][2]['longest_context']:,}" in run(capsys, *ASKED, "--fit")


def test_list(capsys):
    lines = run(capsys, "--list").splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(cost.MODELS)]] == list(cost.MODELS)
    assert "70,553,706,496" in " ".join(lines)


def test_a_file(capsys, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(cost.CONFIGS["mistral-7b"]))
    said = run(capsys, "--config", str(file), "--context", "4096")
    assert "mine: 7.24 B parameters" in said
    assert run(capsys, "mistral-7b", "--context", "4096").split("\n", 1)[1] == said.split("\n", 1)[1]


BAD = {
    "nothing": ([], "name: expected the name of a model or --config FILE, got neither"),
    "both": (["gpt-2", "--config", "x"], "got both"),
    "no such model": (["llama-3-8"], "got 'llama-3-8'; did you mean llama-3-8b"),
    "nothing like it": (["zzzz"], "--list shows all"),
    "no such device": (["gpt-2", "--device", "h10"], "expected one of A100, H100, L4, T4"),
    "no such format": (["gpt-2", "--kv-dtype", "int44"], "--kv-dtype: expected one of float32, bfloat16"),
    "no such weights": (["gpt-2", "--dtype", "int5"], "--dtype: expected one of float32"),
    "no such way": (["gpt-2", "--parallel", "rows"], "parallel: expected one of tensor, sequence, data, counts"),
    "too few": (["gpt-2", "--parallel", "data=2"], "expected as many as devices = 1, got 2 in data=2"),
    "no such link": (["gpt-2", "--link", "NVLink"], "--link: expected one of NVLink 3, NVLink 4"),
    "no context": (["gpt-2", "--context", "0"], "--context: expected an integer of at least 1, got '0'"),
    "too much memory": (["gpt-2", "--usable", "2"], "usable: expected a number above 0 and at most 1, got 2.0"),
    "an encoder that generates": (["bert-base", "--fit"], "--fit: expected a model that generates, got BERT-base"),
    "a stage without training": (["gpt-2", "--zero", "1"], "--zero: expected with --train, got it without"),
    "stage 0 without training": (["gpt-2", "--zero", "0"], "--zero: expected with --train, got it without"),
    "a page in training": (["gpt-2", "--train", "--page", "16"], "--page: expected without --train"),
    "a list as JSON": (["--list", "--json"], "--list: expected alone, got it with a model or --json"),
    "a list of one": (["gpt-2", "--list"], "--list: expected alone, got it with a model or --json"),
    "no such stage": (["gpt-2", "--train", "--zero", "4"], "--zero: invalid choice"),
    "training that fits": (["gpt-2", "--train", "--fit"], "--fit: expected without --train"),
    "a cache in training": (["gpt-2", "--train", "--kv-dtype", "fp8"], "--kv-dtype: expected without --train"),
    "training in int4": (["gpt-2", "--train", "--dtype", "int4"], "dtype: expected one of"),
    "an odd batch": (
        ["gpt-2", "--train", "--devices", "4", "--batch", "6"],
        "expected a multiple of data = 4, got 6",
    ),
    "no file": (["--config", "/nowhere.json"], "--config: expected a file, got '/nowhere.json'"),
}


def refused(capsys, arguments, said):
    with pytest.raises(SystemExit) as end:
        main(["model", *arguments])
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(capsys, name):
    refused(capsys, *BAD[name])


FILES = {
    "no JSON": ("{", "expected a file of JSON"),
    "a list": ("[]", "--config: expected an object of JSON, got list"),
    "no family": ("{}", "model_type: expected one of bert"),
    "an unknown family": ('{"model_type": "lama"}', "got 'lama'; did you mean llama"),
    "a missing field": (
        '{"model_type": "llama"}',
        "hidden_size: expected an integer of at least 1, got no such field",
    ),
    "a wrong field": (
        json.dumps(cost.CONFIGS["gpt-2"] | {"n_layer": "twelve"}),
        "n_layer: expected an integer of at least 1, got 'twelve'",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_files_name_the_field(capsys, tmp_path, name):
    text, said = FILES[name]
    file = tmp_path / "config.json"
    file.write_text(text)
    refused(capsys, ["--config", str(file)], said)
    (tmp_path / "other.json").write_bytes(b"\xff\xfe\x00")
    refused(capsys, ["--config", str(tmp_path / "other.json")], "which is no text")


def test_needs_no_jax():
    program = "import sys; sys.modules['jax'] = None; from attnlib.cli import main; main(['model', 'gpt-2'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("GPT-2: 124 M parameters")


def test_a_length_may_be_in_units(capsys: pytest.CaptureFixture[str]) -> None:
    """64k is 65,536, as on the calculator's page."""
    assert main(["model", "llama-3-8b", "--context", "64k"]) == 0
    assert "context 65,536" in capsys.readouterr().out


def test_a_refusal_names_the_command_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["model", "llama-3-8b", "--dtype", "fp3"])
    assert capsys.readouterr().err.startswith("python -m attnlib model: --dtype: expected one of float32")
