"""What is said on a socket: one JSON object a line, of a known kind, with exactly the fields of that kind. Never pickle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from ..errors import RevokeDeadlock, RevokeTimeout
from .records import Holder, Outcome, ProtocolError, Report, Survey

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MOST_ASKED",
    "MOST_TOLD",
    "VERSION",
    "Lines",
    "as_holder",
    "as_outcome",
    "as_survey",
    "encode",
    "failure",
    "plain",
    "raised",
    "reported",
]

VERSION = 1
MOST_ASKED = 64 * 1024  # bytes a message, of what comes to an owner
MOST_TOLD = 16 * 1024 * 1024  # of what an owner says, who may have many holders to list

_TIME = (int, float, type(None))
_KINDS: dict[str, dict[str, tuple[type, ...]]] = {
    # to the owner: what a connection begins with
    "attach": {"version": (int,), "process": (str,), "gate": (bool,)},  # whether a gate's descriptor comes with it
    "list": {"version": (int,)},
    "revoke": {"version": (int,), "timeout": _TIME, "fence_after": _TIME},
    # and what a holder says later
    "left": {},
    "report": {"proxies": (list,), "inside": (list,)},
    # from the owner: answers
    "welcome": {"version": (int,), "epoch": (int,), "info": (dict,)},
    "refused": {"version": (int,), "error": (str,), "reason": (str,)},  # what the one who comes raises, by its name
    "listed": {"version": (int,), "survey": (dict,)},
    "outcome": {"version": (int,), "outcome": (dict,)},
    "failed": {"version": (int,), "error": (str,), "message": (str,), "holders": (list,)},
    # and what it says to a holder
    "gone": {"replaced": (bool,), "reason": (str,)},
    "who": {},
}


def encode(kind: str, **fields: Any) -> bytes:
    """One message."""
    return json.dumps({"do": kind, **fields}, allow_nan=False).encode() + b"\n"


def reported(report: Report) -> bytes:
    """A holder's report as one message. Lines that are too long for that are cut: names have any length."""
    longest = 4096
    while True:
        proxies, inside = ([line if len(line) <= longest else f"{line[:longest]}..." for line in lines] for lines in report)
        message = encode("report", proxies=proxies, inside=inside)
        if len(message) <= MOST_ASKED or not longest:
            return message
        longest //= 2


class Lines:
    """Takes bytes as they come, and gives messages. Raises `ProtocolError` for anything else."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that are whole by now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > self._most or any(len(line) > self._most for line in lines):
            raise ProtocolError(f"a message has more than {self._most} bytes")
        return [_checked(line) for line in lines]


def _checked(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError(f"what came is no message: {line[:40]!r}") from None
    if not isinstance(message, dict):
        raise ProtocolError(f"what came is no message: {line[:40]!r}")
    message = cast("dict[str, Any]", message)
    version = message.get("version", VERSION)
    if version != VERSION:
        raise ProtocolError(
            f"the other side speaks version {version!r} of the protocol, and this one {VERSION}: use one ref_proxy"
        )
    fields = dict(message)
    kind = fields.pop("do", None)
    expected = _KINDS.get(kind) if type(kind) is str else None
    if expected is None or fields.keys() != expected.keys() or any(type(fields[name]) not in expected[name] for name in fields):
        raise ProtocolError(f"what came is no message of a known kind: {line[:40]!r}")
    return message


# Records, as what JSON can say, and back.


def plain(record: Any) -> Any:
    """A record as a dict, with those in it."""
    if isinstance(record, (Holder, Outcome, Report, Survey)):
        return {name: plain(value) for name, value in record._asdict().items()}
    return list(map(plain, cast("Iterable[Any]", record))) if isinstance(record, tuple) else record


def as_holder(fields: dict[str, Any]) -> Holder:
    """What `plain()` made of a holder."""
    made: Holder = _record(Holder, fields, report=_report)
    return made


def as_outcome(fields: dict[str, Any]) -> Outcome:
    """What `plain()` made of an outcome."""
    made: Outcome = _record(Outcome, fields, holders=_holders)
    return made


def failure(error: BaseException) -> dict[str, Any]:
    """What a removal that somebody else asked for has raised."""
    holders = [plain(holder) for holder in getattr(error, "holders", ())]
    return {"error": type(error).__name__, "message": str(error), "holders": holders}


def raised(fields: dict[str, Any]) -> Exception:
    """What `failure()` was made of, for the one who asked to raise."""
    kind, message = fields.get("error"), str(fields.get("message"))
    if kind == "RevokeTimeout":
        return RevokeTimeout(message, holders=[as_holder(each) for each in fields.get("holders", ())])
    kinds: dict[Any, type[Exception]] = {"RevokeDeadlock": RevokeDeadlock, "ValueError": ValueError}
    return kinds[kind](message) if kind in kinds else RuntimeError(f"the owner has raised {kind}: {message}")


def as_survey(fields: dict[str, Any]) -> Survey:
    """What `plain()` made of a survey."""
    made: Survey = _record(Survey, fields, holders=_holders)
    return made


def _report(fields: dict[str, Any]) -> Report:
    made: Report = _record(Report, fields, proxies=tuple, inside=tuple)
    return made


def _holders(found: list[dict[str, Any]]) -> tuple[Holder, ...]:
    return tuple(map(as_holder, found))


def _record(kind: Any, fields: dict[str, Any], **make: Any) -> Any:
    try:
        return kind(**{name: make[name](value) if name in make else value for name, value in fields.items()})
    except (TypeError, AttributeError):
        raise ProtocolError(f"what came is no {kind.__name__.lower()}: {str(fields)[:40]!r}") from None
