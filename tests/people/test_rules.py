"""Roles, names, passwords, and when a session or a key is good."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from coordinator.core.requests import RequestError
from coordinator.people import rules, tokens
from coordinator.people.records import ApiKey, Session, User, UserChange
from coordinator.people.roles import GIVEN, Role, role_of
from coordinator.people.rules import Lifetimes, PasswordRefused

ANN = User("ann", Role.OPERATOR, "$argon2id$secret", 0.0)
SESSION = Session("d" * 64, "ann", created_at=1000.0, seen_at=2000.0)
KEY = ApiKey("0123456789ab", "slicer", "ann", Role.ADMIN, "e" * 64, 1000.0)
LIFETIMES = Lifetimes(idle_s=100.0, max_s=1500.0)


def test_each_role_may_what_the_one_below_it_may() -> None:
    assert all(low < high for low, high in itertools.pairwise(Role))
    assert [role_of(role.word) for role in GIVEN] == list(GIVEN)
    assert role_of("nobody") is None


@pytest.mark.parametrize("name", ["ann", " Ann ", "a.b_c-d@example.org", "0" * 64])
def test_names_are_kept_in_small_letters(name: str) -> None:
    assert rules.checked_name(name) == name.strip().lower()


@pytest.mark.parametrize("name", ["", "-a", "a b", "key:x", "ä", "a" * 65, "a/b", "a\n"])
def test_what_is_no_name(name: str) -> None:
    if name.strip() == "a":
        assert rules.checked_name(name) == "a"
        return
    with pytest.raises(RequestError):
        rules.checked_name(name)


@pytest.mark.parametrize("password", ["", "123456789", "x" * 1025, "ü" * 513, "ANN-of-Green"])
def test_passwords_that_are_refused_are_not_repeated(password: str) -> None:
    with pytest.raises(PasswordRefused) as refused:
        rules.checked_password("ann-of-green", password)
    assert not password or password not in str(refused.value)


def test_the_same_characters_are_the_same_password() -> None:
    assert rules.checked_password("ann", "Schlu\u0308ssel12") == "Schl\u00fcssel12"


@pytest.mark.parametrize(
    ("now_s", "is_good"), [(2000.0, True), (2100.0, True), (2100.1, False), (1990.0, True)]
)
def test_a_session_ends_unused(now_s: float, is_good: bool) -> None:
    assert (rules.by_session(SESSION, ANN, LIFETIMES, now_s) is not None) is is_good


def test_a_session_ends_after_its_longest_time_however_much_it_is_used() -> None:
    used = replace(SESSION, seen_at=2500.0)
    assert rules.by_session(used, ANN, LIFETIMES, 2500.0) is not None
    assert rules.by_session(used, ANN, LIFETIMES, 2500.1) is None


def test_a_disabled_user_has_no_way_in() -> None:
    disabled = replace(ANN, disabled=True)
    assert rules.by_session(SESSION, disabled, LIFETIMES, 2000.0) is None
    assert rules.by_key(KEY, disabled, 2000.0) is None


@pytest.mark.parametrize("role", GIVEN)
def test_a_key_may_the_lesser_of_its_own_and_its_users_role(role: Role) -> None:
    found = rules.by_key(replace(KEY, role=role), ANN, 2000.0)
    assert found is not None
    assert found.role is min(role, Role.OPERATOR)
    assert (found.name, found.user) == ("key:slicer", "ann")


def test_a_key_expires() -> None:
    key = replace(KEY, expires_at=3000.0)
    assert rules.by_key(key, ANN, 2999.9) is not None
    assert rules.by_key(key, ANN, 3000.0) is None


def test_what_is_sooner() -> None:
    assert rules.sooner(None, None) is None
    assert rules.sooner(None, 5.0) == rules.sooner(5.0, None) == rules.sooner(5.0, 9.0) == 5.0


def test_no_record_shows_what_opens_a_door() -> None:
    change = UserChange(password_hash="$argon2id$secret")
    shown = repr([ANN, SESSION, KEY, change])
    for secret in ("argon2id", "d" * 64, "e" * 64):
        assert secret not in shown


def test_a_key_is_found_by_its_id_and_proven_by_its_secret() -> None:
    made = tokens.new_key()
    assert tokens.parted_key(made.text) == (made.id, made.digest)
    assert made.digest not in made.text
    for text in ("", "mf_", made.text + "x", made.text[:-1], "xx" + made.text[2:]):
        assert tokens.parted_key(text) is None


def test_a_csrf_token_does_not_lead_to_the_session() -> None:
    token = tokens.new_token()
    assert tokens.is_token(token)
    assert tokens.csrf_of(token) not in (token, tokens.digest_of(token))
