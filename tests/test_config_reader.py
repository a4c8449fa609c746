"""The reader of configurations: what it accepts, what it refuses by which key, and the way back."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.training.engine.test_config import CONFIGS, SHIPPED
from thoracle.config_reader import (
    PositiveInt,
    Range,
    apply_overrides,
    check_fields,
    config_from_mapping,
    config_to_mapping,
    describe_type,
    field_types,
    parse_yaml,
)
from thoracle.errors import InputError
from thoracle.training.engine.config import RunConfig, load_config


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: Annotated[float, Range(above=0, below=1)] = 0.5
    kind: Literal["plain", "fancy"] = "plain"
    pairs: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if self.kind == "fancy" and not self.pairs:
            raise InputError("fancy needs pairs", hint="Give some.", source="inner")


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: PositiveInt = 1
    name: str = ""
    flag: bool = False
    sizes: tuple[PositiveInt, PositiveInt] = (2, 3)
    words: tuple[str, ...] = ("a",)
    inner: Inner = field(default_factory=Inner)
    perhaps: Inner | None = None
    tuned: Inner = field(default_factory=lambda: Inner(rate=0.25))

    def __post_init__(self) -> None:
        check_fields(self)


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({}, Outer()),
        ({"inner": {"rate": 0.1, "pairs": [[1, 2.5]]}}, Outer(inner=Inner(rate=0.1, pairs=((1.0, 2.5),)))),
        ({"perhaps": {}, "words": []}, Outer(perhaps=Inner(), words=())),
        ({"perhaps": None, "sizes": (4, 5), "flag": True}, Outer(sizes=(4, 5), flag=True)),
    ],
)
def test_plain_types_become_a_configuration(mapping: dict[str, Any], expected: Outer) -> None:
    assert config_from_mapping(Outer, mapping) == expected
    assert config_from_mapping(Outer, config_to_mapping(expected)) == expected


def test_a_whole_number_for_a_fraction_becomes_one() -> None:
    pairs = config_from_mapping(Inner, {"pairs": [[1, 2]]}).pairs
    assert [type(end) for end in pairs[0]] == [float, float]


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"count": 0}, "config: count must be a whole number at least 1, is 0"),
        ({"count": True}, "count must be a whole number at least 1, is True"),
        ({"count": 1.0}, "count must be a whole number at least 1, is 1.0"),
        ({"name": 3}, "name must be text, is 3"),
        ({"name": None}, "name must be text, is None"),
        ({"flag": 1}, "flag must be true or false, is 1"),
        ({"sizes": [1]}, r"sizes must be a list of 2, of which each is a whole number at least 1, is \[1\]"),
        ({"sizes": [1, 0]}, r"sizes\[1\] must be a whole number at least 1, is 0"),
        ({"sizes": "12"}, "sizes must be a list of 2"),
        ({"words": "abc"}, "words must be a list, of which each is text"),
        ({"inner": {"rate": 1}}, r"inner\.rate must be a number above 0 and below 1, is 1"),
        ({"inner": {"rate": float("nan")}}, r"inner\.rate must be a number"),
        ({"inner": {"rate": 10**400}}, r"inner\.rate must be a number"),
        ({"inner": {"kind": "odd"}}, r"inner\.kind must be plain or fancy, is 'odd'"),
        ({"inner": {"kind": ["plain"]}}, r"inner\.kind must be plain or fancy"),
        ({"inner": {"pairs": [[1, 2], [3]]}}, r"inner\.pairs\[1\] must be a list of 2"),
        ({"inner": {"pairs": [[1, "2"]]}}, r"inner\.pairs\[0\]\[1\] must be a number"),
        ({"inner": {"kind": "fancy"}}, "config: inner: fancy needs pairs. Give some"),
        ({"inner": 3}, "inner must hold settings, is 3"),
        ({"inner": None}, "inner must hold settings, is None"),
        ({"perhaps": {"rat": 1}}, r"unknown perhaps\.rat; known are kind, pairs, rate. Did you mean rate\?"),
        ({"zebra": 1}, "unknown zebra; known are .* Remove or correct it"),
        ({3: 1}, "unknown 3"),
    ],
)
def test_what_is_wrong_is_named_by_its_dotted_key(mapping: dict[Any, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config_from_mapping(Outer, mapping)


def test_a_long_value_is_cut_in_the_error() -> None:
    with pytest.raises(InputError) as caught:
        config_from_mapping(Outer, {"count": "x" * 10_000})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("wrong", [{"count": 0}, {"sizes": [1, 2]}, {"inner": {}}, {"words": ("a", 1)}])
def test_what_is_made_in_python_is_checked_too(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Outer(**wrong)


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 1", "{c: {a: 1, 'a': 2}}", '[{"a": 1, "a": 1}]'])
def test_a_key_stands_once_in_each_mapping(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="'a' stands twice"):
        parse_yaml(text)


def test_a_merge_gives_way_to_keys_of_its_own_and_keys_of_other_mappings_are_others() -> None:
    assert parse_yaml("x: &x {a: 1, b: 2}\ny: {<<: *x, a: 3}\nz: [{a: 1}, {a: 2}]")["y"] == {"a": 3, "b": 2}


def test_a_number_without_a_point_is_read_as_yaml_1_2_does() -> None:
    assert parse_yaml("[1e-4, -2E3, 1.5e3, 10, 1e, e4, 1-4]") == [1e-4, -2000.0, 1500.0, 10, "1e", "e4", "1-4"]


def test_overrides_replace_one_key_and_later_ones_win() -> None:
    mapping = {"inner": {"rate": 0.1}, "perhaps": None}
    changed = apply_overrides(Outer, mapping, ["inner.kind=fancy", "count=2", "count=3", "perhaps.rate=0.2", "name=a=b", "words=[x, y]"])
    assert changed == {
        "inner": {"rate": 0.1, "kind": "fancy"},
        "perhaps": {"rate": 0.2},
        "count": 3,
        "name": "a=b",
        "words": ["x", "y"],
    }
    assert mapping == {"inner": {"rate": 0.1}, "perhaps": None}


@pytest.mark.parametrize("value", ["", " ", "# a remark"])
def test_an_override_without_a_value_is_not_read_as_null(value: str) -> None:
    """A shell that drops the quotes of "" writes so too."""
    with pytest.raises(InputError, match=r"--set: name has no value\. Write 'name=\"\"', quotes included, for empty text, and name=null"):
        apply_overrides(Outer, {}, [f"name={value}"])
    assert apply_overrides(Outer, {}, ['name=""', "perhaps=null"]) == {"name": "", "perhaps": None}
    assert apply_overrides(Outer, {}, ["perhaps=~"]) == {"perhaps": None}


def test_a_section_that_is_absent_begins_as_the_fields_default() -> None:
    config = config_from_mapping(Outer, apply_overrides(Outer, {}, ["tuned.kind=plain", "inner.kind=plain"]))
    assert (config.tuned.rate, config.inner.rate) == (0.25, 0.5)


@pytest.mark.parametrize(
    ("overridden", "source"),
    [
        (["inner.rate"], "--set: inner.rate"),
        (["inner"], "--set: inner.rate"),
        (["inner.kind"], "file: inner.rate"),
        (["inner.rat"], "file: inner.rate"),
    ],
)
def test_an_error_names_the_command_line_where_the_value_came_from_it(overridden: list[str], source: str) -> None:
    with pytest.raises(InputError, match=source):
        config_from_mapping(Outer, {"inner": {"rate": 2}}, source="file", overridden=overridden)


@pytest.mark.parametrize(("name", "kind"), SHIPPED.items())
def test_every_shipped_configuration_comes_back_from_its_mapping(name: str, kind: type[RunConfig]) -> None:
    config = load_config(CONFIGS / f"{name}.yaml", kind)
    mapping = config_to_mapping(config)
    assert config_from_mapping(kind, yaml.safe_load(yaml.safe_dump(mapping))) == config
    assert config_to_mapping(config_from_mapping(kind, mapping)) == mapping


def keys_of(config: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Every dotted key of a configuration, with its type; sections that are None have none."""
    found = []
    for name, hint in field_types(type(config)).items():
        value = getattr(config, name)
        found.append((prefix + name, hint))
        if is_dataclass(value):
            found += keys_of(value, f"{prefix}{name}.")
    return found


@given(data=st.data())
def test_every_wrong_type_names_its_dotted_key(data: st.DataObject) -> None:
    name, kind = data.draw(st.sampled_from(sorted(SHIPPED.items())))
    config = load_config(Path(CONFIGS / f"{name}.yaml"), kind)
    key, hint = data.draw(st.sampled_from(keys_of(config)))
    wrong = data.draw(st.sampled_from([value for value in ([{}], {"x": 1}, b"", -1e308, True, "\x00") if not accepts(hint, value)]))
    mapping = config_to_mapping(config)
    section = mapping
    *parents, last = key.split(".")
    for parent in parents:
        section = section[parent]
    section[last] = wrong
    with pytest.raises(InputError) as caught:
        config_from_mapping(kind, mapping)
    assert key in caught.value.detail


def accepts(hint: Any, value: object) -> bool:
    """Whether a field without a range or choices takes the value."""
    return any(hint is kind and type(value) is kind for kind in (str, bool, float))


def test_types_are_described_in_words() -> None:
    described = {field.name: describe_type(field_types(Outer)[field.name]) for field in fields(Outer)}
    assert described["perhaps"] == "settings or null"
    assert describe_type(field_types(Inner)["kind"]) == "plain or fancy"
