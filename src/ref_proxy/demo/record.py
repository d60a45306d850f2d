"""The instrument's records, and a decoder that notices every fault that a lost line can cause.

A record is one line of text, so that a reader that comes in the middle finds the next start without guessing:

    $ plug(4) number(8) length(2) payload(length) crc32(8) newline        all but the mark and the newline in lower-case hex

Nothing else is ever sent, so every other byte comes from somebody else's descriptor.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol
from zlib import crc32

__all__ = ["FOREIGN", "Decoder", "Haul", "RawDecoder", "RecordDecoder", "encode"]

FOREIGN = b"<FOREIGN>"  # what the bystander's descriptors are full of: no byte of it is ever sent by the instrument
MARK = b"$"
ALPHABET = b"$0123456789abcdef\n"
HEADER = 15
TRAILER = 9


def encode(plug: int, number: int, payload: str) -> bytes:
    """One record; `plug` counts how often the instrument was plugged in, so that no other line's records pass for these."""
    body = f"{plug & 0xFFFF:04x}{number:08x}{len(payload):02x}{payload}".encode()
    return b"%b%b%08x\n" % (MARK, body, crc32(body))


class Haul(NamedTuple):
    """What one read brought in."""

    records: int = 0
    wrong: int = 0  # records with a wrong checksum, or torn ones
    lost: int = 0  # places where the numbers do not follow
    foreign: int = 0  # bytes that no instrument sent, or records of another line: one for each read


class Decoder(Protocol):
    """Turns what was read into counts. `missing` is how many bytes to ask for next; 0 when anything will do."""

    @property
    def missing(self) -> int: ...

    def feed(self, chunk: bytes) -> Haul: ...


class RecordDecoder:
    """For one line, from its opening on; its reader holds the line's lock."""

    def __init__(self, plug: int) -> None:
        self._plug = plug & 0xFFFF
        self._buffer = b""
        self._synchronised = False
        self._next: int | None = None

    @property
    def missing(self) -> int:
        have = len(self._buffer)
        return HEADER - have if have < HEADER else self._length() - have

    def feed(self, chunk: bytes) -> Haul:
        records = wrong = lost = 0
        foreign = bool(chunk.translate(None, ALPHABET))
        self._buffer += chunk
        while True:
            start = self._buffer.find(MARK)
            skipped, self._buffer = (self._buffer, b"") if start < 0 else (self._buffer[:start], self._buffer[start:])
            # A line is opened in the middle of a record, and nobody knows where a wrong one ends; else nothing is between two.
            wrong += bool(skipped) and self._synchronised
            if len(self._buffer) < HEADER or 0 < self._length() > len(self._buffer):
                return Haul(records, wrong, lost, int(foreign))
            self._synchronised = True
            number = self._open(self._buffer[: self._length()])
            if number is None:
                wrong += 1
                self._buffer = self._buffer[1:]
                self._synchronised = False
                continue
            self._buffer = self._buffer[self._length() :]
            if number[0] != self._plug:
                foreign = True
                continue
            records += 1
            lost += self._next not in {None, number[1]}
            self._next = number[1] + 1

    def _length(self) -> int:
        """The length of the record that the buffer begins with; 0 when this is no record."""
        try:
            return HEADER + int(self._buffer[13:HEADER], 16) + TRAILER
        except ValueError:
            return 0

    @staticmethod
    def _open(record: bytes) -> tuple[int, int] | None:
        body, check = record[1:-TRAILER], record[-TRAILER:]
        if check != b"%08x\n" % crc32(body):
            return None
        return int(body[:4], 16), int(body[4:12], 16)


class RawDecoder:
    """For hardware whose language is not known: every read counts as a record, and only the bystander's mark is a fault."""

    missing = 0

    def feed(self, chunk: bytes) -> Haul:
        return Haul(records=bool(chunk), foreign=FOREIGN in chunk)
