"""JSON Web Tokens: taken only as the one key signs them, for this audience, in their time; anything else is nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from serving import Serving, config, serving

from archetype_server import TokenConfig, UnusableTokenKey
from archetype_server.commands import serve as serve_command
from archetype_server.token_verifier import AnyKey, TokenVerifier

NOW = 1_800_000_000.0
SECRET = b"s" * 40
KEYS: dict[str, AnyKey] = {
    "HS256": OctKey.import_key(SECRET),
    "RS256": RSAKey.generate_key(2048),
    "ES256": ECKey.generate_key("P-256"),
    "Ed25519": OKPKey.generate_key("Ed25519"),
}
CLAIMS: dict[str, Any] = {"sub": "ada", "aud": "archetype", "exp": NOW + 600, "roles": ["player"]}


def segment(data: bytes) -> str:
    """Base64 as tokens have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(claims: Any, algorithm: str = "HS256", key: AnyKey | None = None, **header: Any) -> str:
    """A token with claims; from bytes, these as they are."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    registry = jws.JWSRegistry(strict_check_header=False, algorithms=[algorithm])
    return jws.serialize_compact({"alg": algorithm, **header}, payload, key or KEYS[algorithm], registry=registry)


def by_hand(header: Any, claims: Any, secret: bytes = SECRET) -> str:
    """A token as no library makes it."""
    head = f"{segment(json.dumps(header).encode())}.{segment(json.dumps(claims).encode())}"
    return f"{head}.{segment(hmac.new(secret, head.encode(), hashlib.sha256).digest())}"


def written(place: Path, algorithm: str, *, as_jwk: bool = False) -> Path:
    """The file of a key, as an operator has it."""
    key, path = KEYS[algorithm], place / f"{algorithm}.key"
    if as_jwk:
        path.write_text(json.dumps(key.as_dict(private=algorithm == "HS256")))
    else:
        path.write_bytes(SECRET + b"\n" if isinstance(key, OctKey) else key.as_pem(private=False))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with keys."""
    return tmp_path_factory.mktemp("keys")


def verifier(place: Path, algorithm: str = "HS256", *, as_jwk: bool = False, **more: Any) -> TokenVerifier:
    """A verifier with the key of an algorithm, at a moment."""
    return TokenVerifier(TokenConfig(written(place, algorithm, as_jwk=as_jwk), "archetype", **more), clock=lambda: NOW)


@pytest.mark.parametrize("as_jwk", [False, True])
@pytest.mark.parametrize("algorithm", KEYS)
def test_only_the_algorithm_of_the_key_is_taken(place: Path, algorithm: str, as_jwk: bool) -> None:
    """A token of the key is its subject with roles and worlds; with any other algorithm, or none, it is nobody."""
    tokens = verifier(place, algorithm, as_jwk=as_jwk)
    found = tokens.find(signed({**CLAIMS, "worlds": ["demo"], "email": "x"}, algorithm, kid="7", nonce="extra"))
    assert found is not None
    assert (found.actor.id, found.actor.roles, found.actor.worlds) == ("ada", {"player"}, {"demo"})
    assert (found.expires_at, found.actor.worlds) == (NOW + 660, {"demo"})
    for other, key in KEYS.items():
        if other != algorithm:
            assert tokens.find(signed(CLAIMS, other, key)) is None
    body = f"{segment(json.dumps({'alg': 'none'}).encode())}.{segment(json.dumps(CLAIMS).encode())}"
    assert [tokens.find(f"{body}.{end}") for end in ("", "AA", segment(SECRET))] == [None] * 3


def test_a_public_key_is_no_secret(place: Path) -> None:
    """What everybody may know signs nothing: not as HMAC secret of a token, and not as the secret of a server."""
    for algorithm in ("RS256", "ES256", "Ed25519"):
        tokens, key = verifier(place, algorithm), KEYS[algorithm]
        assert not isinstance(key, OctKey)
        for secret in (key.as_pem(private=False), key.as_der(private=False), key.as_pem(private=False).strip()):
            assert tokens.find(by_hand({"alg": "HS256"}, CLAIMS, secret)) is None
    key = RSAKey.generate_key(2048)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        weak = RSAKey.generate_key(1024)
    (place / "der").write_bytes(key.as_der(private=False))
    tokens = TokenVerifier(TokenConfig(place / "der", "archetype"), clock=lambda: NOW)
    assert tokens.find(signed(CLAIMS, "RS256", key)) is not None
    assert tokens.find(by_hand({"alg": "HS256"}, CLAIMS, key.as_der(private=False))) is None
    odd = {
        "private": key.as_pem(private=True),
        "jwk": json.dumps(key.as_dict(private=True)).encode(),
        "broken": key.as_pem(private=False).replace(b"A", b"!"),
        "certificate": b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "ssh": b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGm3 ada@example",
        "short": b"s" * 31,
        "empty": b"",
        "set": b'{"keys": []}',
        "json": b"{",
        "weak": weak.as_pem(private=False),
        "curve": ECKey.generate_key("P-384").as_pem(private=False),
        "agreement": OKPKey.generate_key("X25519").as_pem(private=False),
    }
    for name, data in odd.items():
        path = place / name
        path.write_bytes(data)
        with pytest.raises(UnusableTokenKey, match=name):
            TokenVerifier(TokenConfig(path, "archetype"))
    with pytest.raises(UnusableTokenKey, match="nowhere"):
        TokenVerifier(TokenConfig(place / "nowhere", "archetype"))


def test_claims_are_required_and_bounded(place: Path) -> None:
    """Subject, audience, end and roles are required; times are right up to a minute; a token is not valid for too long."""
    tokens = verifier(place, issuer="idp")
    good = {**CLAIMS, "iss": "idp"}
    fine: list[dict[str, Any]] = [
        {},
        {"aud": ["other", "archetype"]},
        {"exp": NOW - 59},
        {"nbf": NOW + 59, "iat": NOW + 59},
        {"exp": NOW + 86_400 + 59},
        {"roles": ["viewer", "admin"], "worlds": None},
        {"worlds": []},
    ]
    assert [tokens.find(signed({**good, **one})) is not None for one in fine] == [True] * len(fine)
    wrong: list[dict[str, Any]] = [
        {"aud": "other"},
        {"aud": []},
        {"aud": "archetype2"},
        {"aud": None},
        {"iss": "other"},
        {"iss": None},
        {"exp": NOW - 60},
        {"exp": str(NOW + 600)},
        {"exp": True},
        {"exp": None},
        {"exp": 10**400},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": NOW + 86_400 + 61},
        {"exp": NOW + 600, "iat": NOW - 86_400},
        {"nbf": NOW + 61},
        {"iat": NOW + 61},
        {"sub": ""},
        {"sub": 7},
        {"sub": "server"},
        {"sub": "x" * 201},
        {"roles": []},
        {"roles": ["root"]},
        {"roles": ["viewer", "Admin"]},
        {"roles": "admin"},
        {"roles": None},
        {"worlds": "demo"},
        {"worlds": [1]},
        {"worlds": [""]},
    ]
    assert [one for one in wrong if tokens.find(signed({**good, **one})) is not None] == []
    for name in ("sub", "aud", "exp", "roles", "iss"):
        assert tokens.find(signed({key: one for key, one in good.items() if key != name})) is None
    for data in (b"[]", b"null", b'"x"', b"{", b"\xff", b"[" * 3000, json.dumps({**good, "x": "y" * 9000}).encode()):
        assert tokens.find(signed(data)) is None
    for header in (
        {"crit": ["odd"], "odd": 1},
        {"crit": ["b64"], "b64": False},
        {"crit": 1},
        {"alg": ["HS256"]},
        {"alg": 1},
    ):
        assert tokens.find(by_hand({"alg": "HS256", **header}, good)) is None
    assert tokens.find(by_hand({"alg": "HS256"}, good)) is not None
    with pytest.raises(ValueError, match="audience"):
        TokenConfig(place / "HS256.key", "")
    with pytest.raises(ValueError, match="lifetime_s"):
        TokenConfig(place / "HS256.key", "a", lifetime_s=0)


GOOD = signed(CLAIMS)
_CHARACTERS = "ABCxyz019-_.=+/ {}\n\0é"


@given(st.data())
def test_no_mangled_token_is_anybody(place: Path, data: st.DataObject) -> None:
    """One changed, missing, doubled or moved character anywhere, and a token is nobody."""
    tokens = verifier(place)
    at = data.draw(st.integers(0, len(GOOD) - 1))
    mangled = data.draw(
        st.one_of(
            st.sampled_from(_CHARACTERS).map(lambda one: GOOD[:at] + one + GOOD[at + 1 :]),
            st.sampled_from(_CHARACTERS).map(lambda one: GOOD[:at] + one + GOOD[at:]),
            st.just(GOOD[:at] + GOOD[at + 1 :]),
            st.just(GOOD[:at]),
            st.permutations(GOOD.split(".")).map(".".join),
            st.text(max_size=40),
            st.tuples(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=40)).map(
                lambda parts: ".".join(map(segment, parts))
            ),
        )
    )
    found = tokens.find(mangled)
    assert (found is None) == (mangled != GOOD)


@given(
    st.dictionaries(
        st.sampled_from([*CLAIMS, "nbf", "iat", "iss", "worlds"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
            lambda one: st.lists(one, max_size=3),
        ),
    )
)
def test_signed_nonsense_is_nobody_or_well_formed(place: Path, odd: dict[str, Any]) -> None:
    """Whatever an issuer signs, it is an actor with known roles, or nobody, and never an error."""
    found = verifier(place).find(signed({**CLAIMS, **odd}))
    if found is not None:
        assert found.actor.id
        assert found.actor.roles <= {"viewer", "player", "operator", "admin"}
        assert NOW < found.expires_at <= NOW + 86_400 + 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, place: Path) -> Iterator[Serving]:
    """A server that takes tokens beside keys."""
    tokens = TokenConfig(written(place, "ES256"), "archetype")
    with serving(config(tmp_path_factory.mktemp("server"), is_dev=False, tokens=tokens)) as here:
        yield here


def test_a_token_is_as_good_as_a_key(server: Serving) -> None:
    """Roles and worlds of a token are those of its actor, keys work beside it, and what is neither has one answer."""

    def ask(bearer: str, method: str, path: str, body: Any = None) -> Any:
        return server.http.request(method, path, json=body, headers={"Authorization": f"Bearer {bearer}"})

    assert server.server.first_key is not None
    key = server.server.first_key.read_text().strip()
    claims = {**CLAIMS, "exp": time.time() + 600}
    assert ask(key, "POST", "/worlds", {"name": "north"}).status_code == 201
    assert ask(signed({**claims, "roles": ["admin"]}, "ES256"), "POST", "/worlds", {"name": "south"}).status_code == 201
    mine = signed({**claims, "worlds": ["north"]}, "ES256")
    told = ask(mine, "GET", "/me").json()
    assert (told["actor"], told["roles"]) == ("ada", ["player"])
    assert [one["name"] for one in ask(mine, "GET", "/worlds").json()["items"]] == ["north"]
    refused = ask(mine, "POST", "/worlds/north/step")
    assert (refused.status_code, refused.json()["actor"]) == (403, "ada")
    assert ask(mine, "GET", "/worlds/south").json()["code"] == "ARC-W001"
    unknown = ask("ark_1_2", "GET", "/me")
    for bearer in (
        "x.y.z",
        mine[:-1],
        signed({**claims, "exp": time.time() - 100}, "ES256"),
        signed({**claims, "aud": "other"}, "ES256"),
        signed({**claims, "roles": ["root"]}, "ES256"),
        signed(claims, "HS256"),
        f"ark_{mine}",
    ):
        answer = ask(bearer, "GET", "/me")
        assert (answer.status_code, answer.content) == (401, unknown.content)
        assert answer.headers["www-authenticate"] == unknown.headers["www-authenticate"]


def test_the_command_line_asks_for_key_and_audience(tmp_path: Path) -> None:
    """One without the other is wrong usage, and a file without a key is refused at the start."""
    run = CliRunner()
    assert run.invoke(serve_command, ["--jwt-key", "x"]).exit_code == 2
    assert run.invoke(serve_command, ["--jwt-audience", "x"]).exit_code == 2
    (tmp_path / "short").write_text("short")
    refused = run.invoke(
        serve_command,
        [
            "--jwt-key",
            str(tmp_path / "short"),
            "--jwt-audience",
            "x",
            "--port",
            "0",
            "--storage",
            f"journal:{tmp_path}/d",
        ],
    )
    assert (refused.exit_code, "ARC-H017" in refused.output) == (1, True)
