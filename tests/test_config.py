import tomllib
from pathlib import Path

import pytest

from tl_pipeline.config import (
    load_config,
    make_config,
    make_heads_config,
    write_template,
)
from tl_pipeline.errors import ConfigError

LEAST = {"data": {"source": "photos"}, "backbone": {"name": "mobilenet_v2"}}


def test_the_template_is_a_valid_configuration_at_its_defaults():
    text = write_template(source='a "b"', backbone="mobilenet_v2", weights="w\\h5")
    config = make_config(tomllib.loads(text), where="template")
    assert config.data.source == 'a "b"'
    assert config.backbone.weights == "w\\h5"
    assert config.heads == make_config(LEAST, where="least").heads


def test_unknown_keys_are_listed_at_once_with_the_known_ones():
    with pytest.raises(ConfigError) as caught:
        make_config(
            {**LEAST, "data": {"sorce": "x", "source": "y"}, "heads": {"kind": 1}},
            where="p.toml",
        )
    message = str(caught.value)
    assert "p.toml" in message
    assert "data.sorce: unknown key; known are source, name" in message
    assert "heads.kind: unknown key; known are kinds" in message


def test_an_unknown_section_lists_the_sections():
    with pytest.raises(ConfigError, match="dta: unknown key; known are data, backbone"):
        make_config({**LEAST, "dta": {}}, where="p.toml")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "val_size", 1.0),
        ("data", "max_failures", -0.1),
        ("backbone", "features", []),
        ("store", "dtype", "bfloat16"),
        ("store", "batch_size", 0),
        ("heads", "kinds", ["forest"]),
        ("heads", "l2", [0.0]),
        ("heads", "l2", [float("inf")]),
        ("backbone", "name", "pix\0els"),
        ("heads", "n_seeds", 0),
        ("heads", "n_seeds", "3"),
        ("heads", "n_seeds", 3.0),
        ("heads", "n_seeds", True),
        ("heads", "l2", ["1"]),
        ("heads", "l2", [True]),
        ("heads", "learning_curve", [True]),
        ("heads", "standardize", 1),
        ("heads", "standardize", "no"),
        ("data", "val_size", "0.1"),
        ("data", "val_size", False),
        ("data", "exclude", "*.png"),
    ],
)
def test_an_unfit_value_is_named_with_its_key(section: str, key: str, value: object):
    values = {**LEAST, section: {**LEAST.get(section, {}), key: value}}
    with pytest.raises(ConfigError, match=rf"{section}\.{key}.*found"):
        make_config(values, where="p.toml")


def test_whole_numbers_serve_as_floats_and_lists_as_tuples():
    heads = {"l2": [1, 0.5], "n_components": 2, "features": ["a+b"]}
    data = {"source": "photos", "target": ["x", "y"]}
    config = make_config({**LEAST, "data": data, "heads": heads}, where="p.toml")
    assert config.heads.l2 == (1.0, 0.5)
    assert type(config.heads.l2[0]) is type(config.heads.n_components) is float
    assert config.heads.features == ("a+b",)
    assert config.data.targets == ("x", "y")


def test_a_missing_file_names_the_command_that_writes_one(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none.toml.*tl-pipeline init"):
        load_config(tmp_path / "none.toml")


def test_a_file_that_is_not_toml_says_where(tmp_path: Path):
    path = tmp_path / "p.toml"
    path.write_text("[data]\nsource = \n")
    with pytest.raises(ConfigError, match="line 2"):
        load_config(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = " + "[" * 9999, "nests brackets deeper than can be read"),
        ("x = " + "9" * 9999, "is not TOML: Exceeds the limit"),
        ("x" * 9999 + " = 1", "xxx ...: unknown key"),
        ("".join(f"x{i} = 1\n" for i in range(999)), "\n  and 986 more\n"),
        (f"[data]\nsource = [{'1, ' * 9999}]", "data.source: .* found .1, 1, "),
    ],
)
def test_a_hostile_file_is_told_in_a_few_lines(tmp_path: Path, text: str, words: str):
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(path)
    assert len(str(caught.value)) < 2000


def test_a_lone_carriage_return_is_no_line_break(tmp_path: Path):
    path = tmp_path / "p.toml"
    path.write_bytes(b'[data]\rsource = "x"\n')
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(path)


def test_a_configuration_survives_json():
    config = make_config(LEAST, where="x")
    assert make_config(config.to_json(), where="y") == config


def test_a_list_of_one_unfit_item_is_one_complaint():
    with pytest.raises(ConfigError) as found:
        make_heads_config({"kinds": ["linaer"]})
    assert str(found.value).count("heads.kinds") == 1
    with pytest.raises(ConfigError, match="heads.kinds: .* at least 1 item"):
        make_heads_config({"kinds": []})
