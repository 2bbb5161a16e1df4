"""What the farm's certificates contain, when one is renewed, and that hosts can verify by them."""

from __future__ import annotations

import ipaddress
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from coordinator.private_file import write_private
from coordinator.trust import certificates, own_certificate
from coordinator.trust.authority import Authority, TrustError, new_key
from coordinator.trust.certificates import BadName, Names, names_of, why_renew
from coordinator.trust.keeper import Keeper, Wanted

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NAMES = names_of(["farm.local", "192.168.1.5"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "trust")
    made.open(datetime.now(UTC))
    return made


def made(names: Names = NAMES, now: datetime = NOW) -> tuple[x509.Certificate, x509.Certificate]:
    """A server's certificate and its CA."""
    ca_key = new_key()
    ca = certificates.make_authority(ca_key, NOW)
    return certificates.make_server(new_key(), names, ca, ca_key, now), ca


def test_a_certificate_names_what_was_asked_for_and_is_backdated() -> None:
    server, ca = made()
    assert certificates.names_in(server) == NAMES
    assert NAMES.addresses == (ipaddress.ip_address("192.168.1.5"),)
    assert NOW - server.not_valid_before_utc == timedelta(days=1)
    assert server.not_valid_after_utc - NOW == timedelta(days=397)
    assert ca.not_valid_after_utc - NOW > timedelta(days=3652)


def test_a_certificate_that_serves_is_kept_also_with_a_name_too_many() -> None:
    server, ca = made()
    assert why_renew(server, NAMES, ca, NOW) == ""
    assert why_renew(server, names_of(["farm.local"]), ca, NOW + timedelta(days=300)) == ""


@pytest.mark.parametrize(
    ("wanted", "days", "why"),
    [
        (names_of(["farm.local", "192.168.1.6"]), 0, "lacks 192.168.1.6"),
        (NAMES, 368, "ends in 29 days"),
        (NAMES, 500, "ends in 0 days"),
        (NAMES, -2, "not valid yet"),
    ],
)
def test_a_certificate_is_renewed(wanted: Names, days: int, why: str) -> None:
    server, ca = made()
    assert why in why_renew(server, wanted, ca, NOW + timedelta(days=days))


def test_a_certificate_of_another_ca_is_renewed() -> None:
    server, _ = made()
    _, other = made()
    assert "not of this farm" in why_renew(server, NAMES, other, NOW)


def test_a_certificate_never_outlives_its_ca() -> None:
    late = NOW + certificates.CA_LIFE - timedelta(days=10)
    server, ca = made(now=late)
    assert server.not_valid_after_utc == ca.not_valid_after_utc
    assert why_renew(server, NAMES, ca, late + timedelta(days=1)) == ""


@pytest.mark.parametrize("name", ["", "a b", "farm/..", "-farm", "1.2.3.4/8", "a" * 300, "x..y"])
def test_a_name_that_no_certificate_can_hold_is_refused(name: str) -> None:
    with pytest.raises(BadName):
        names_of([name])


def test_the_ca_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    first = Authority(tmp_path / "trust")
    first.open(NOW)
    again = Authority(tmp_path / "trust")
    again.open(NOW + timedelta(days=1))
    assert again.pem == first.pem
    key = tmp_path / "trust" / "ca.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert b"PRIVATE" not in first.pem


def test_a_first_run_that_ended_between_key_and_certificate_is_taken_up(tmp_path: Path) -> None:
    first = Authority(tmp_path / "trust")
    first.open(NOW)
    (tmp_path / "trust" / "ca.pem").unlink()
    again = Authority(tmp_path / "trust")
    again.open(NOW)
    again.ensure_server(NAMES, NOW)


def test_a_ca_without_its_key_is_told_and_not_replaced(tmp_path: Path) -> None:
    Authority(tmp_path / "trust").open(NOW)
    (tmp_path / "trust" / "ca.key").unlink()
    with pytest.raises(TrustError, match=r"ca\.key is missing"):
        Authority(tmp_path / "trust").open(NOW)
    write_private(tmp_path / "trust" / "ca.key", b"damaged")
    with pytest.raises(TrustError, match=r"ca\.key: holds no private key"):
        Authority(tmp_path / "trust").open(NOW)


def test_a_server_certificate_is_made_again_only_when_needed(authority: Authority) -> None:
    now = datetime.now(UTC)
    assert authority.ensure_server(NAMES, now) == "there is none yet"
    assert authority.ensure_server(NAMES, now) == ""
    assert "lacks b.example" in authority.ensure_server(names_of(["b.example"]), now)
    assert stat.S_IMODE(authority.server_path.stat().st_mode) == 0o600
    authority.server_path.write_bytes(b"torn")
    assert "no private key" in authority.ensure_server(NAMES, now)


def keeper(folder: Path, addresses: list[str], **wanted: object) -> Keeper:
    wanted_ = Wanted(open=True, **wanted)  # type: ignore[arg-type]
    return Keeper(folder, wanted_, addresses=lambda: tuple(addresses))


def content(path: str) -> bytes:
    return Path(path).read_bytes()


def tear(path: str) -> None:
    """As a copy that was not made in one step looks meanwhile."""
    Path(path).write_bytes(content(path)[:40])


async def changes(kept: Keeper) -> int:
    """How often listeners are told to load it again, in one look."""
    told = []

    async def tell() -> None:
        told.append(1)

    await kept.look(tell)
    return len(told)


async def test_names_that_come_later_are_in_the_next_certificate(tmp_path: Path) -> None:
    addresses = ["192.0.2.1"]
    kept = keeper(tmp_path, addresses, names=("farm.example",))
    kept.open()
    assert {"192.0.2.1", "farm.example", "localhost", "127.0.0.1"} <= kept.names
    assert kept.calling_names("0.0.0.0")[0] == "farm.example"
    assert "192.0.2.1" in kept.calling_names("0.0.0.0")
    assert "localhost" not in kept.calling_names("::")
    assert kept.calling_names("192.0.2.1") == ("farm.example", "192.0.2.1")
    assert await changes(kept) == 0
    addresses.append("192.0.2.2")
    assert await changes(kept) == 1
    assert "192.0.2.2" in kept.names


# ---- the user's own -------------------------------------------------------------------------


def own_files(folder: Path, now: datetime | None = None, names: Names = NAMES) -> dict[str, str]:
    """Certificate, key and CA of a company, as files."""
    now = now or datetime.now(UTC)
    ca_key, key = new_key(), new_key()
    ca = certificates.make_authority(ca_key, now)
    server = certificates.make_server(key, names, ca, ca_key, now)
    paths = {name: folder / f"own-{name}.pem" for name in ("certificate", "key", "ca")}
    paths["certificate"].write_bytes(server.public_bytes(Encoding.PEM))
    paths["key"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    paths["ca"].write_bytes(ca.public_bytes(Encoding.PEM))
    return {name: str(path) for name, path in paths.items()}


async def test_a_certificate_of_ones_own_serves(tmp_path: Path) -> None:
    own = own_files(tmp_path)
    kept = keeper(tmp_path, [], **own)
    kept.open()
    assert kept.ca_pem == content(own["ca"])
    assert kept.names == {"farm.local", "192.168.1.5"}
    assert await changes(kept) == 0
    own_files(tmp_path, names=names_of(["other.example"]))
    assert await changes(kept) == 1
    assert kept.names == {"other.example"}
    tear(own["key"])
    assert await changes(kept) == 0  # told in the log; what is served goes on
    assert kept.names == {"other.example"}


def test_one_that_cannot_serve_is_told_by_option_and_reason(tmp_path: Path) -> None:
    good = own_files(tmp_path)

    def refused(**changed: str) -> str:
        with pytest.raises(TrustError) as caught:
            keeper(tmp_path, [], **{**good, **changed}).open()
        return str(caught.value)

    other = tmp_path / "other"
    other.mkdir()
    stranger = own_files(other)
    assert "No such file" in refused(key=str(tmp_path / "none"))
    assert "is not the key of" in refused(key=stranger["key"])
    assert "hosts could not verify it" in refused(ca=stranger["ca"])
    assert "hosts could not verify it" in refused(ca="")
    (tmp_path / "text").write_text("no certificate")
    assert "no certificate in PEM" in refused(certificate=str(tmp_path / "text"))
    old = tmp_path / "old"
    old.mkdir()
    expired = own_files(old, datetime.now(UTC) - timedelta(days=500))
    assert "is valid from" in refused(**expired)


def test_a_chain_with_a_certificate_missing_is_told(tmp_path: Path) -> None:
    """Key, time and names are right: only the handshake that ends the check shows it."""
    own = own_files(tmp_path)
    root_key, between_key, key = new_key(), new_key(), new_key()
    now = datetime.now(UTC)
    root = certificates.make_authority(root_key, now)
    between = certificates.make_server(between_key, NAMES, root, root_key, now)
    leaf = certificates.make_server(key, NAMES, between, between_key, now)
    Path(own["certificate"]).write_bytes(leaf.public_bytes(Encoding.PEM))
    Path(own["key"]).write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(TrustError, match="hosts could not verify it"):
        own_certificate.check(
            Path(own["certificate"]),
            Path(own["key"]),
            root.public_bytes(Encoding.PEM),
            now,
        )
