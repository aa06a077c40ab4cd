"""One Python function for each request of the API, with a signature and documentation made from its description."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from typing import Any, Callable, Iterator

from .errors import ApiError
from .model import Field, Model, camel

# The functions' own argument stands beside the message's fields: no field of the API begins so.
TIMEOUT = "_timeout"


class Annotation(str):
    """A type's name, shown by help() without quotes."""

    def __repr__(self) -> str:
        return str(self)


@dataclasses.dataclass
class Request:
    """One request: how to send it, and what comes back."""

    name: str
    fields: list[Field]
    comment: str
    answer_name: str          # the message that makes the result: a reply, or details
    is_list: bool             # a dump, or a cursor-style get
    make: Callable[[dict], Any]
    answer_fields: list[Field]
    answer_comment: str
    reply_name: str

    def plain(self, arguments: dict) -> dict:
        known = {f.attribute: f for f in self.fields}
        for name in arguments:
            if name not in known:
                raise TypeError(f"{self.name}() has no argument '{name}'; it takes "
                                f"{', '.join(known) or 'none'}")
        return {known[n].name: known[n].kind.to_plain(v) for n, v in arguments.items()}

    def result(self, reply: dict | None, details: list[dict]) -> Any:
        """The typed result, or the API's own refusal raised."""
        if reply is not None and reply.get("retval", 0) != 0:
            answer = None if self.is_list else self.make(reply)
            raise ApiError(self.name, reply["retval"], answer)
        return [self.make(d) for d in details] if self.is_list else self.make(reply or {})

    @property
    def returns(self) -> str:
        return f"list[{camel(self.answer_name)}]" if self.is_list else camel(self.answer_name)

    def signature(self) -> inspect.Signature:
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter(f.attribute, keyword, default=f.default, annotation=Annotation(f.kind.accepts))
                      for f in self.fields]
        parameters.append(inspect.Parameter(TIMEOUT, keyword, default=None, annotation=Annotation("float | None")))
        return inspect.Signature(parameters, return_annotation=Annotation(self.returns))

    def documentation(self) -> str:
        lines = [*textwrap.wrap(self.comment or f"Sends {self.name}.", 100), ""]
        if self.fields:
            lines += ["Arguments:"]
            lines += [f"    {f.attribute}: {f.kind.accepts}" + (f" = {f.default!r}" if f.default is not None else "")
                      for f in self.fields]
        lines += [f"    {TIMEOUT}: seconds to wait for this answer, instead of the connection's", ""]
        lines += [f"Returns {self.returns}:"]
        lines += textwrap.wrap(self.answer_comment, 96, initial_indent="    ", subsequent_indent="    ")
        lines += [f"    {f.attribute}: {f.kind.annotation}" for f in self.answer_fields]
        if any(f.name == "retval" for f in self.answer_fields) or self.reply_name:
            lines += ["", "Raises hostloom.ApiError when the daemon refuses, with its reason."]
        return "\n".join(lines)


# Connecting and disconnecting is the client's own.
_OWN = {"sockclnt_create", "sockclnt_delete"}


def requests(model: Model, table: list[str] | None = None) -> Iterator[Request]:
    """Every request with an answer; of those in the daemon's table, when that is given."""
    description = model.description
    speaks = None if table is None else set(table)
    for name, service in description["services"].items():
        message = description["messages"][name]
        if name in _OWN or not service["reply"] or (speaks is not None and message["entry"] not in speaks):
            continue
        is_list = service["is_stream"] or bool(service["stream_msg"])
        answer = service["stream_msg"] or service["reply"]
        yield Request(
            name=name, comment=message["comment"], is_list=is_list, answer_name=answer,
            fields=[f for f in model.message_fields(name) if not (f.name == "cursor" and service["stream_msg"])],
            make=model.message(answer), answer_fields=model.message_fields(answer),
            answer_comment=description["messages"][answer]["comment"],
            reply_name=service["reply"] if service["stream_msg"] else "")


class Namespace:
    """Functions or classes by name, as attributes. dir() and iteration list them."""

    def __init__(self, what: str, members: dict[str, Any]):
        self._what = what
        self.__dict__.update(members)
        self._members = members

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._members))

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def __dir__(self) -> list[str]:
        return sorted(self._members)

    def __getattr__(self, name: str) -> Any:
        import difflib
        near = difflib.get_close_matches(name, self._members, 1)
        raise AttributeError(f"this daemon has no {self._what} '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))

    def __repr__(self) -> str:
        return f"<{len(self._members)} {self._what}s>"


def function(request: Request, send: Callable[[Request, dict, float | None], Any], is_async: bool) -> Callable:
    """The function that users call; `send` is the connection's."""
    def call(*, _timeout: float | None = None, **arguments: Any) -> Any:
        return send(request, request.plain(arguments), _timeout)

    async def async_call(*, _timeout: float | None = None, **arguments: Any) -> Any:
        return await send(request, request.plain(arguments), _timeout)

    made: Any = async_call if is_async else call
    made.__name__ = made.__qualname__ = request.name
    made.__module__ = "hostloom.api"
    made.__signature__ = request.signature()
    made.__doc__ = request.documentation()
    return made
