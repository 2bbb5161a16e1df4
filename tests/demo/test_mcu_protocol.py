"""The wire of the virtual micro-controller against vectors that do not come from its own code."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.mcu.commands import DICTIONARY
from demo.mcu.protocol import (
    Dictionary,
    Format,
    FrameReader,
    ProtocolError,
    crc16_ccitt,
    encode_frame,
    vlq_decode,
    vlq_encode,
)


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        # The limits of one to five bytes, from the table in Klipper's docs/Protocol.md.
        (0, "00"),
        (-32, "60"),
        (95, "5f"),
        (96, "8060"),
        (-33, "ff5f"),
        (-4096, "e000"),
        (12287, "df7f"),
        (12288, "80e000"),
        (-524288, "e08000"),
        (1572863, "dfff7f"),
        (-67108864, "e0808000"),
        (201326591, "dfffff7f"),
        (201326592, "80e0808000"),
    ],
)
def test_integers_take_the_bytes_of_the_protocols_table(value: int, wire: str) -> None:
    assert vlq_encode(value).hex() == wire
    assert vlq_decode(bytes.fromhex(wire), 0) == (value, len(wire) // 2)


@given(st.integers(-(2**31), 2**32 - 1))
def test_every_integer_of_32_bits_returns(value: int) -> None:
    decoded, end = vlq_decode(vlq_encode(value), 0)
    assert decoded & 0xFFFFFFFF == value & 0xFFFFFFFF
    assert end == len(vlq_encode(value))


@pytest.mark.parametrize("value", [2**32, -(2**31) - 1])
def test_wider_integers_are_refused(value: int) -> None:
    with pytest.raises(ProtocolError, match="32 bits"):
        vlq_encode(value)


def test_the_checksum_is_the_catalogued_one() -> None:
    # CRC-16/MCRF4XX in the catalogue of parametrised CRC algorithms: check value of "123456789".
    assert crc16_ccitt(b"123456789") == 0x6F91


def test_an_empty_frame_is_the_ack_of_the_protocols_documentation() -> None:
    frame = encode_frame(0)
    assert frame[:2] == bytes([5, 0x10])
    assert frame[-1] == 0x7E
    assert int.from_bytes(frame[2:4], "big") == crc16_ccitt(bytes([5, 0x10]))


def test_frames_are_found_in_any_slicing_of_the_stream() -> None:
    stream = b"\x7e" + encode_frame(0, b"one") + encode_frame(1, b"two")
    for cut in range(len(stream)):
        reader = FrameReader()
        payloads = reader.feed(stream[:cut])[0] + reader.feed(stream[cut:])[0]
        assert payloads == [b"one", b"two"]


def test_a_broken_frame_is_answered_and_the_next_is_read() -> None:
    broken = bytearray(encode_frame(0, b"one"))
    broken[2] ^= 1
    reader = FrameReader()
    assert reader.feed(bytes(broken)) == ([], True)
    assert reader.next_sequence == 0
    assert reader.feed(encode_frame(0, b"one")) == ([b"one"], True)


def test_a_repeated_frame_is_answered_but_not_taken_twice() -> None:
    reader = FrameReader()
    frame = encode_frame(0, b"one")
    assert reader.feed(frame) == ([b"one"], True)
    assert reader.feed(frame) == ([], True)


def test_a_format_reads_what_it_writes() -> None:
    fmt = Format(7, "thing oid=%c low=%hu add=%hi data=%*s")
    wire = fmt.encode([3, 65535, -5, b"abc"])
    msgid, start = vlq_decode(wire, 0)
    assert (msgid, fmt.decode(wire, start)) == (7, ([3, 65535, -5, b"abc"], len(wire)))


def test_a_message_that_ends_too_early_is_refused() -> None:
    fmt = Format(7, "thing clock=%u data=%*s")
    with pytest.raises(ProtocolError, match="ends within"):
        fmt.decode(fmt.encode([2**31, b"abc"])[:-1], 1)


def test_an_unknown_argument_type_is_refused() -> None:
    with pytest.raises(ProtocolError, match="%x"):
        Format(1, "thing a=%x")


def test_the_dictionary_tells_the_host_every_message_under_one_number() -> None:
    told = json.loads(zlib.decompress(DICTIONARY.compressed))
    numbers = [*told["commands"].values(), *told["responses"].values()]
    assert len(numbers) == len(set(numbers))
    assert told["commands"]["identify offset=%u count=%c"] == 1
    assert told["responses"]["identify_response offset=%u data=%.*s"] == 0
    assert told["config"]["CLOCK_FREQ"] == 16_000_000


def test_the_fixed_numbers_do_not_depend_on_the_order_of_declaration() -> None:
    dictionary = Dictionary(["other a=%c", "identify offset=%u count=%c"], [], {}, {}, "v")
    assert dictionary.commands[1].name == "identify"
