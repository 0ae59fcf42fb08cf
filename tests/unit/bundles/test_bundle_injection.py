"""Text from hosts and users is data: no fact, label or read-back gets into a file that a program obeys."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import tomllib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.bundles.key_guard import SecretInBundleError, refuse_secrets
from app.bundles.rendering import code, plain, render, toml
from tests.unit.bundles.sources import INLINE, PUBLIC_KEY, block, gateway, result, source, trial

OBEYED = (".toml", ".service", ".conf", ".sh", ".yml", ".ini", ".env", "vars.json")
NASTY = (
    "\nExecStartPre=/bin/sh -c id\n",
    '"]\ncontrol_socket = "/etc/passwd',
    "{{ lookup('pipe', 'id') }}",
    "{% raw %}",
    "../../etc/cron.d/x",
    "`id` $(id) ; id #",
    "| x |\n## Heading\n<script>alert(1)</script>",
    "\u202e\u2028\x00\x1b[31m",
)
TEXTS = st.one_of(st.sampled_from(NASTY), st.text(max_size=120))


def obeyed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.endswith(OBEYED)}


@settings(max_examples=60, deadline=None)
@given(cpu=TEXTS, kernel=TEXTS, label=TEXTS, fact_name=TEXTS, engine=TEXTS)
@example(cpu=NASTY[0], kernel=NASTY[1], label=NASTY[2], fact_name=NASTY[4], engine=NASTY[5])
def test_no_untrusted_text_reaches_a_file_that_a_program_obeys(
    cpu: str, kernel: str, label: str, fact_name: str, engine: str
) -> None:
    facts = {"cpu": {"model": cpu}, "kernel": kernel, "distribution": engine, fact_name: {"nested": [engine]}}
    hostile = render(
        source(
            gateways={"a": gateway(**facts), "b": gateway(**facts)},
            spec={"testbed": "demo", "label": label},
            trials=[trial(0, INLINE, [block("verdict", 0, 6.0, read_back={fact_name: engine}, detail=cpu)])],
        )
    )
    harmless = render(source())
    assert set(hostile) == set(harmless)
    assert obeyed(hostile) == obeyed(harmless)
    manifest = json.loads(hostile["manifest.json"])
    assert manifest["study"]["label"] == label
    assert manifest["gateways"]["a"]["fingerprint"][fact_name] is not None
    readme = hostile["README.md"].decode()
    assert readme.count("\n") == harmless["README.md"].decode().count("\n")
    assert [line for line in readme.splitlines() if line.startswith("#")] == [
        line for line in harmless["README.md"].decode().splitlines() if line.startswith("#")
    ]


@given(TEXTS)
def test_a_code_span_is_one_line_and_one_span(text: str) -> None:
    span = code(text)
    assert span == "" or (span[0] == span[-1] == "`" and "`" not in span[1:-1] and len(span) <= 202)
    assert len(span.splitlines()) <= 1
    assert "|" not in span
    assert re.fullmatch(r"[A-Za-z0-9 ,./%²-]*", plain(text))


@given(TEXTS)
def test_toml_strings_are_printable_ascii_or_refused(text: str) -> None:
    try:
        rendered = toml(text)
    except ValueError:
        assert not (text.isascii() and text.isprintable())
    else:
        assert tomllib.loads(f"x = {rendered}") == {"x": text}


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_a_secret_among_the_facts_stops_the_bundle(secret: bytes) -> None:
    canary = base64.b64encode(secret).decode()
    for facts in ({"wg": f"line {canary}"}, {canary: 1}, {"deep": [{"x": f'"{canary}"'}]}):
        files = render(source(gateways={"a": gateway(**facts), "b": gateway()}))
        with pytest.raises(SecretInBundleError) as caught:
            refuse_secrets(files, [PUBLIC_KEY])
        assert canary not in str(caught.value)
        assert canary not in (caught.value.hint or "")


def test_a_key_as_wg_makes_it_is_recognised() -> None:
    for _ in range(50):
        key = subprocess.run(["wg", "genkey"], capture_output=True, check=True).stdout
        with pytest.raises(SecretInBundleError):
            refuse_secrets({"x": b"key: " + key}, [])


@pytest.mark.parametrize(
    "text",
    [
        "PrivateKey = x",
        "private_key=" + "0a" * 32,
        '"preshared_key": "' + "0A" * 32 + '"',
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        '{"private_key": "c2VjcmV0LWtleQ"}',
        "privateKey",
    ],
)
def test_what_is_named_like_a_secret_is_refused(text: str) -> None:
    with pytest.raises(SecretInBundleError, match=r"evidence/x\.json"):
        refuse_secrets({"fine": b"fine", "evidence/x.json": text.encode()}, [])


def test_public_keys_that_were_declared_may_stay() -> None:
    blocks = [block("verdict", 0, 6.0, read_back={"a": {"peer": PUBLIC_KEY}})]
    files = render(source(trials=[trial(0, INLINE, blocks)]))
    assert PUBLIC_KEY.encode() in files["evidence/result.json"]
    refuse_secrets(files, [PUBLIC_KEY])
    with pytest.raises(SecretInBundleError, match=r"evidence/(confirm|result|samples)\.json"):
        refuse_secrets(files, [])


def test_hashes_and_ordinary_text_are_no_secrets() -> None:
    refuse_secrets(
        {"SHA256SUMS": b"0a" * 32 + b"  README.md\n", "x": b'private_key_file = "/etc/wiretune/keys/wl0"'}, []
    )
    assert result().verdict is not None
