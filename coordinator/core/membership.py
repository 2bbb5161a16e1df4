"""What makes a printer a member of the farm, and what ends that: pairing and revoking.

Owns the rules of both acts and the hold that a revoked printer is left in. Must not know
credentials, codes or MQTT: whoever asks has made or ended those.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from coordinator.core.farm import Draft, Now
from coordinator.core.printer_requests import add_printer, check_printer_id, printer_of
from coordinator.core.printers import Printer
from coordinator.core.requests import Conflict, Who, tell

REVOKED = "its credentials were revoked; pair it again or give it new ones"


def check_new(printers: Mapping[str, Printer], printer_ids: tuple[str, ...], known: bool) -> None:
    """Raise RequestError for an id that cannot be one, Conflict for a printer that exists.

    `known`: it may exist. Otherwise its host would be thrown out by a stranger's choice of name.
    """
    for printer_id in printer_ids:
        check_printer_id(printer_id)
        if printer_id in printers and not known:
            raise Conflict(
                f"printer {printer_id} exists already; a code made for it (moonfleet pair"
                f" {printer_id}) gives its host new credentials"
            )


def pair_printers(
    draft: Draft, printer_ids: tuple[str, ...], known: bool, who: Who, now: Now
) -> None:
    """Make printers members, all or none; raises as check_new."""
    check_new(draft.printers, printer_ids, known)
    for printer_id in printer_ids:
        if printer_id not in draft.printers:
            add_printer(draft, printer_id, "", (), who, now)
        readmit(draft, printer_id)
        tell(draft, who, now, "printer_paired", printer=printer_id)


def revoke_printer(draft: Draft, printer_id: str, who: Who, now: Now) -> Printer:
    """Its host may no longer connect. What it prints goes on, out of reach; nothing new goes to it.

    A hold for another reason stays: that one asks for a person's look, too.
    """
    printer = printer_of(draft, printer_id)
    printer = replace(printer, hold=printer.hold or REVOKED)
    draft.put_printer(printer)
    tell(draft, who, now, "printer_revoked", printer=printer_id)
    return printer


def renew_credentials(draft: Draft, printer_id: str, who: Who, now: Now) -> Printer:
    """It has new credentials, made by a person; raises NotFound."""
    printer = readmit(draft, printer_id)
    tell(draft, who, now, "printer_credentials", printer=printer_id)
    return printer


def readmit(draft: Draft, printer_id: str) -> Printer:
    """End the hold that revoking left, now that it has new credentials; raises NotFound."""
    printer = printer_of(draft, printer_id)
    if printer.hold == REVOKED:
        printer = replace(printer, hold="")
        draft.put_printer(printer)
    return printer
