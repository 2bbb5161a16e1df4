"""Printers: add, list, show, and every act on one.

Owns the answers about printers. What an act means is coordinator/core/requests.py's to say.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET, Struct, UnsetType

from coordinator.core import membership, requests
from coordinator.core import printer_requests as acts
from coordinator.core.farm import Draft, Now
from coordinator.core.printer_requests import PrinterChange
from coordinator.core.printers import Printer
from coordinator.core.requests import Conflict
from coordinator.http.base import Answer, ApiHandler
from coordinator.http.jobs import NoFields
from coordinator.http.operations import operation
from coordinator.http.printer_view import PrinterState, PrinterView, printer_view
from coordinator.http.services import BrokerForHosts
from coordinator.people.roles import Role
from moonraker_component.wire import CommandKind


class PrinterAnswer(Answer):
    """One printer."""

    printer: PrinterView


class PrintersAnswer(Answer):
    """All printers, by id."""

    printers: list[PrinterView]


class Credentials(Struct, frozen=True):
    """How a printer's host logs in at the broker. The password is told once and never again."""

    username: str
    password: str
    broker: BrokerForHosts


class CredentialsAnswer(Answer):
    """A printer and the new credentials of its host."""

    printer: PrinterView
    credentials: Credentials


class PrinterOrder(Struct, forbid_unknown_fields=True):
    """`id`: 1 to 64 of A-Z a-z 0-9 _ -, never changed again. `name` as people call it."""

    id: str
    name: str = ""
    tags: tuple[str, ...] = ()


class PrinterPatch(Struct, forbid_unknown_fields=True):
    """A field left out stays as it is."""

    name: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    location: str | UnsetType = UNSET


class PrintersQuery(Struct, forbid_unknown_fields=True):
    """`state`: one or more states, divided by commas. `tag`: printers that bear it."""

    state: tuple[PrinterState, ...] = ()
    tag: str = ""


class HoldOrder(Struct, forbid_unknown_fields=True):
    """`reason`: why, for whoever finds it held."""

    reason: str


class ClearOrder(Struct, forbid_unknown_fields=True):
    """`token`: of the bed that was seen to be clear; left out: the one reported now."""

    token: str = ""


class CommandAnswer(Answer):
    """A command was sent. It is carried out only if it arrives within a lease: what comes of it
    shows in the printer's state."""

    printer: PrinterView
    command: str


class PrintersHandler(ApiHandler):
    """/printers."""

    @operation(answer=PrintersAnswer, query=PrintersQuery)
    async def get(self) -> None:
        """List printers: state and why, what they print, temperatures and progress."""
        asked = self.query(PrintersQuery)
        views = [view(self, printer.id) for printer in self.services.engine.farm.printers.values()]
        found = [v for v in views if not asked.state or v.state in asked.state]
        found = [v for v in found if not asked.tag or asked.tag in v.tags]
        self.answer(PrintersAnswer(printers=sorted(found, key=lambda v: v.id)))

    @operation(status=201, answer=CredentialsAnswer, body=PrinterOrder, needs=Role.ADMIN)
    async def post(self) -> None:
        """Add a printer; its host's credentials are in the answer, this once."""
        order, who = self.body(PrinterOrder), self.who
        await self.services.engine.ask(
            lambda d, now: acts.add_printer(d, order.id, order.name, order.tags, who, now)
        )
        password = await self.services.make_credentials(order.id)
        answer_credentials(self, order.id, password)


class PrinterHandler(ApiHandler):
    """/printers/{id}."""

    @operation(answer=PrinterAnswer)
    async def get(self, printer_id: str) -> None:
        """Show a printer."""
        self.answer(PrinterAnswer(printer=view(self, printer_id)))

    @operation(answer=PrinterAnswer, body=PrinterPatch, needs=Role.ADMIN)
    async def patch(self, printer_id: str) -> None:
        """Change a printer's name, tags or location."""
        patch, who = self.body(PrinterPatch), self.who
        wish = PrinterChange(name=patch.name, tags=patch.tags, location=patch.location)
        await act(
            self,
            printer_id,
            lambda d, now: acts.change_printer(d, printer_id, wish, who, now),
        )


class CredentialsHandler(ApiHandler):
    """/printers/{id}/credentials."""

    @operation(status=201, answer=CredentialsAnswer, body=NoFields, needs=Role.ADMIN)
    async def post(self, printer_id: str) -> None:
        """Make new credentials for a printer's host; the old password is no longer taken, and
        whoever is connected by it is disconnected."""
        self.body(NoFields)
        who = self.who
        view(self, printer_id)
        password = await self.services.make_credentials(printer_id)
        await self.services.engine.ask(
            lambda d, now: membership.renew_credentials(d, printer_id, who, now)
        )
        answer_credentials(self, printer_id, password)


class RevokeHandler(ApiHandler):
    """/printers/{id}/revoke."""

    @operation(answer=PrinterAnswer, body=NoFields, needs=Role.ADMIN)
    async def post(self, printer_id: str) -> None:
        """End the credentials of a printer's host and its connection. What it prints goes on, out
        of reach; nothing new goes to it until it has new ones."""
        self.body(NoFields)
        view(self, printer_id)
        if not await self.services.trust.revoke(printer_id):
            raise Conflict("the broker is not the farm's: end the account there")
        who = self.who
        await act(
            self, printer_id, lambda d, now: membership.revoke_printer(d, printer_id, who, now)
        )


class MaintenanceHandler(ApiHandler):
    """/printers/{id}/maintenance."""

    @operation(answer=PrinterAnswer, body=NoFields)
    async def post(self, printer_id: str) -> None:
        """Take a printer out of service: it finishes what it prints and takes nothing new."""
        self.body(NoFields)
        who = self.who
        await act(
            self,
            printer_id,
            lambda d, now: acts.set_maintenance(d, printer_id, True, who, now),
        )


class ServiceHandler(ApiHandler):
    """/printers/{id}/service."""

    @operation(answer=PrinterAnswer, body=NoFields)
    async def post(self, printer_id: str) -> None:
        """Put a printer back into service."""
        self.body(NoFields)
        who = self.who
        await act(
            self,
            printer_id,
            lambda d, now: acts.set_maintenance(d, printer_id, False, who, now),
        )


class PrinterHoldHandler(ApiHandler):
    """/printers/{id}/hold."""

    @operation(answer=PrinterAnswer, body=HoldOrder)
    async def post(self, printer_id: str) -> None:
        """Place nothing on a printer until a person releases it."""
        reason, who = self.body(HoldOrder).reason, self.who
        await act(
            self,
            printer_id,
            lambda d, now: acts.hold_printer(d, printer_id, reason, who, now),
        )


class PrinterReleaseHandler(ApiHandler):
    """/printers/{id}/release."""

    @operation(answer=PrinterAnswer, body=NoFields)
    async def post(self, printer_id: str) -> None:
        """Release a held printer: a person has looked."""
        self.body(NoFields)
        who = self.who
        await act(
            self,
            printer_id,
            lambda d, now: acts.release_printer(d, printer_id, who, now),
        )


class BedClearHandler(ApiHandler):
    """/printers/{id}/bed-clear."""

    @operation(status=202, answer=CommandAnswer, body=ClearOrder)
    async def post(self, printer_id: str) -> None:
        """Say that the bed is clear. Names the bed that was reported, so that one that was
        printed on meanwhile is not meant."""
        token = self.body(ClearOrder).token
        bed = view(self, printer_id).bed
        if bed is None:
            raise Conflict(f"printer {printer_id} has never reported its bed")
        if token and token != bed.token:
            raise Conflict(f"printer {printer_id}: this is another bed by now, look again")
        await command(self, printer_id, CommandKind.BED_CLEAR, bed.token)


class EmergencyStopHandler(ApiHandler):
    """/printers/{id}/emergency-stop."""

    @operation(status=202, answer=CommandAnswer, body=NoFields)
    async def post(self, printer_id: str) -> None:
        """Stop a printer at once, as Klipper's M112 does."""
        self.body(NoFields)
        await command(self, printer_id, CommandKind.EMERGENCY_STOP)


class FirmwareRestartHandler(ApiHandler):
    """/printers/{id}/firmware-restart."""

    @operation(status=202, answer=CommandAnswer, body=NoFields)
    async def post(self, printer_id: str) -> None:
        """Restart a printer's firmware and Klipper; this ends what it prints."""
        self.body(NoFields)
        await command(self, printer_id, CommandKind.FIRMWARE_RESTART)


def view(handler: ApiHandler, printer_id: str) -> PrinterView:
    """The view of a printer with its readings; raises NotFound."""
    farm = handler.services.engine.farm
    printer = farm.printers.get(printer_id)
    if printer is None:
        raise requests.NotFound(f"printer {printer_id[:80]!r}: there is none of this id")
    now = handler.services.clock.now()
    return printer_view(farm, printer, now, handler.live.readings_of(printer_id))


async def act(
    handler: ApiHandler, printer_id: str, change: Callable[[Draft, Now], Printer]
) -> None:
    """Ask for a change of a printer in the next round, and answer with the printer after it."""
    await handler.services.engine.ask(change)
    handler.answer(PrinterAnswer(printer=view(handler, printer_id)))


async def command(handler: ApiHandler, printer_id: str, kind: CommandKind, token: str = "") -> None:
    """Send a command and answer that it was sent."""
    await handler.services.engine.command(printer_id, kind, handler.who, token)
    answer = CommandAnswer(printer=view(handler, printer_id), command=kind.value)
    handler.answer(answer, 202)


def answer_credentials(handler: ApiHandler, printer_id: str, password: str) -> None:
    """Answer with new credentials, this once."""
    credentials = Credentials(printer_id, password, handler.services.broker())
    handler.answer(
        CredentialsAnswer(printer=view(handler, printer_id), credentials=credentials), 201
    )
