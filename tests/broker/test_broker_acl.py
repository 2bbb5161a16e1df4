"""The table of rights, by values alone."""

from __future__ import annotations

import pytest

from coordinator import broker_acl
from coordinator.broker_acl import BadPrinterId, coordinator_acls, printer_acls


def topics(acls: tuple[broker_acl.Acl, ...], acltype: str) -> set[str]:
    return {acl.topic for acl in acls if acl.acltype == acltype and acl.allow}


def test_a_printer_writes_its_own_four_topics_only() -> None:
    assert topics(printer_acls("p/v1", "ender"), "publishClientSend") == {
        "p/v1/printers/ender/report",
        "p/v1/printers/ender/online",
        "p/v1/printers/ender/telemetry",
        "p/v1/printers/ender/event",
    }


def test_a_printer_hears_its_desired_its_commands_and_the_beacon() -> None:
    heard = {
        "p/v1/printers/ender/desired",
        "p/v1/printers/ender/command",
        "p/v1/coordinator",
    }
    acls = printer_acls("p/v1", "ender")
    assert topics(acls, "subscribePattern") == heard
    assert topics(acls, "publishClientReceive") == heard


def test_no_right_of_a_printer_has_a_wildcard() -> None:
    assert not [acl for acl in printer_acls("p", "a") if "+" in acl.topic or "#" in acl.topic]


def test_what_printers_write_the_coordinator_reads_and_the_other_way_round() -> None:
    acls = coordinator_acls("p/v1")
    assert topics(acls, "publishClientSend") == {
        "p/v1/coordinator",
        "p/v1/printers/+/desired",
        "p/v1/printers/+/command",
        "p/v1/jobs/+/event",
    }
    heard = {
        "p/v1/coordinator",
        "p/v1/jobs/ready",
        "p/v1/printers/+/report",
        "p/v1/printers/+/online",
        "p/v1/printers/+/telemetry",
        "p/v1/printers/+/event",
    }
    assert topics(acls, "subscribePattern") == heard
    assert topics(acls, "publishClientReceive") == heard


def test_nothing_but_unsubscribing_is_allowed_by_default() -> None:
    assert [name for name, allow in broker_acl.DEFAULT_ACCESS.items() if allow] == ["unsubscribe"]
    assert len(broker_acl.DEFAULT_ACCESS) == 4


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "+", "a#", "moonfleet-admin", "a" * 65, "a\n"])
def test_an_id_that_would_change_the_meaning_of_a_topic_is_refused(name: str) -> None:
    with pytest.raises(BadPrinterId, match="allowed are 1 to 64 of"):
        printer_acls("p", name)
