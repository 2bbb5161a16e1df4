"""The bytes of Klipper's micro-controller protocol (Klipper's docs/Protocol.md).

Owns VLQ integers, the CRC, frames, message formats and the data dictionary. Knows neither time
nor devices: bytes and numbers in, bytes and numbers out.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

SYNC = 0x7E
FRAME_MIN = 5
FRAME_MAX = 64
SEQUENCE_TAG = 0x10  # the upper nibble of a frame's sequence byte is always 1
Argument = int | bytes


class ProtocolError(ValueError):
    """A message does not fit its format."""


def crc16_ccitt(data: bytes) -> int:
    """The 16-bit checksum of a frame: CCITT, reflected, started at 0xffff."""
    crc = 0xFFFF
    for byte in data:
        byte ^= crc & 0xFF
        byte ^= (byte & 0x0F) << 4
        crc = ((byte << 8) | (crc >> 8)) ^ (byte >> 4) ^ (byte << 3)
    return crc & 0xFFFF


def vlq_encode(value: int) -> bytes:
    """Encode -2**31 .. 2**32-1 in 1 to 5 bytes, most significant first.

    The wire form is signed, so values from 2**31 on travel as their negative twin.
    """
    if not -(1 << 31) <= value < 1 << 32:
        raise ProtocolError(f"integer {value} does not fit 32 bits")
    if value >= 1 << 31:
        value -= 1 << 32
    size = 1
    # n bytes hold the range [-2**(7n-2) .. 3*2**(7n-2)), asymmetric by design of the protocol.
    while size < 5 and not -(1 << (7 * size - 2)) <= value < 3 << (7 * size - 2):
        size += 1
    septets = [(value >> shift) & 0x7F for shift in range(7 * (size - 1), -1, -7)]
    return bytes([septet | 0x80 for septet in septets[:-1]] + septets[-1:])


def vlq_decode(data: bytes, pos: int) -> tuple[int, int]:
    """Decode one integer at `pos`; return it (signed) and the position after it."""
    try:
        byte = data[pos]
        pos += 1
        value = byte & 0x7F
        if byte & 0x60 == 0x60:  # both top bits set: a negative number
            value -= 0x80
        while byte & 0x80:
            byte = data[pos]
            pos += 1
            value = (value << 7) | (byte & 0x7F)
    except IndexError:
        raise ProtocolError("message ends within an integer") from None
    return value, pos


_SIGNED = frozenset({"%i", "%hi"})
_UNSIGNED = frozenset({"%u", "%hu", "%c"})
_BYTES = frozenset({"%s", "%*s", "%.*s"})


@dataclass(frozen=True)
class Format:
    """One message format, such as `clock clock=%u`, with its number on the wire."""

    msgid: int
    text: str
    name: str = field(init=False)
    kinds: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        words = self.text.split()
        kinds = tuple(word.partition("=")[2] for word in words[1:])
        for kind in kinds:
            if kind not in _SIGNED | _UNSIGNED | _BYTES:
                raise ProtocolError(f"format {self.text!r}: unknown argument type {kind!r}")
        object.__setattr__(self, "name", words[0])
        object.__setattr__(self, "kinds", kinds)

    def decode(self, data: bytes, pos: int) -> tuple[list[Argument], int]:
        """Read the arguments that follow the message number."""
        values: list[Argument] = []
        for kind in self.kinds:
            if kind in _BYTES:
                if pos >= len(data) or pos + 1 + data[pos] > len(data):
                    raise ProtocolError(f"{self.name}: message ends within a string")
                values.append(data[pos + 1 : pos + 1 + data[pos]])
                pos += 1 + data[pos]
            else:
                value, pos = vlq_decode(data, pos)
                values.append(value if kind in _SIGNED else value & 0xFFFFFFFF)
        return values, pos

    def encode(self, values: Sequence[Argument]) -> bytes:
        """Write message number and arguments."""
        if len(values) != len(self.kinds):
            raise ProtocolError(
                f"{self.name}: {len(values)} arguments given, {len(self.kinds)} wanted"
            )
        out = bytearray(vlq_encode(self.msgid))
        for kind, value in zip(self.kinds, values, strict=True):
            if isinstance(value, bytes):
                if kind not in _BYTES:
                    raise ProtocolError(f"{self.name}: {kind} given as bytes")
                out.append(len(value))
                out += value
            else:
                out += vlq_encode(value)
        return bytes(out)


def encode_frame(sequence: int, payload: bytes = b"") -> bytes:
    """`<length><sequence><payload><crc high><crc low><0x7e>`; no payload is an ack (or nak)."""
    head = bytes([len(payload) + FRAME_MIN, SEQUENCE_TAG | (sequence & 0x0F)]) + payload
    crc = crc16_ccitt(head)
    return head + bytes([crc >> 8, crc & 0xFF, SYNC])


class FrameReader:
    """Cuts a byte stream into frames and follows the host's sequence numbers."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.next_sequence = 0

    def feed(self, data: bytes) -> tuple[list[bytes], bool]:
        """Return the payloads that arrived in order, and whether an ack or nak is due.

        An ack names the next sequence wanted, so that one at the end of a read is enough, and
        a broken or repeated frame is answered by the very same message.
        """
        buffer = self._buffer
        buffer += data
        payloads: list[bytes] = []
        answer = False
        while buffer:
            size = buffer[0]
            if size == SYNC:  # idle filling
                del buffer[0]
                continue
            if len(buffer) < 2:
                break
            broken = not FRAME_MIN <= size <= FRAME_MAX or buffer[1] & 0xF0 != SEQUENCE_TAG
            if not broken:
                if len(buffer) < size:
                    break
                crc = buffer[size - 3] << 8 | buffer[size - 2]
                broken = buffer[size - 1] != SYNC or crc != crc16_ccitt(bytes(buffer[: size - 3]))
            answer = True
            if broken:  # start anew after the next end of a frame
                end = buffer.find(SYNC)
                del buffer[: end + 1 if end >= 0 else len(buffer)]
                continue
            frame = bytes(buffer[:size])
            del buffer[:size]
            if frame[1] & 0x0F == self.next_sequence:
                self.next_sequence = (self.next_sequence + 1) & 0x0F
                payloads.append(frame[2:-3])
        return payloads, answer


class Dictionary:
    """The data dictionary: which message has which number, and the firmware's constants.

    The host downloads it with `identify`, so that declaring a command is all that is needed.
    """

    _FIXED = ("identify_response offset=%u data=%.*s", "identify offset=%u count=%c")

    def __init__(
        self,
        commands: Iterable[str],
        responses: Iterable[str],
        enumerations: Mapping[str, Mapping[str, int]],
        constants: Mapping[str, int | str],
        version: str,
    ) -> None:
        command_texts, response_texts = list(commands), list(responses)
        ids = {text: number for number, text in enumerate(self._FIXED)}
        for text in command_texts + response_texts:
            ids.setdefault(text, len(ids))
        self.commands = {ids[text]: Format(ids[text], text) for text in command_texts}
        formats = [Format(ids[text], text) for text in response_texts]
        self.responses = {fmt.name: fmt for fmt in formats}
        self.compressed = zlib.compress(
            json.dumps(
                {
                    "version": version,
                    "build_versions": "python",
                    "commands": {text: ids[text] for text in command_texts},
                    "responses": {text: ids[text] for text in response_texts},
                    "enumerations": enumerations,
                    "config": constants,
                }
            ).encode()
        )
