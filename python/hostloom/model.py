"""Python classes for the types and messages that a daemon describes, and conversion of values to and from them.

The compiled part resolves the descriptions (`_core.Connection.describe()`) and encodes plain data; here that data gets
its types: IntEnum and IntFlag, ipaddress objects, dataclasses, bytes.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import keyword
from typing import Any, Callable, Optional

HIDDEN = ("client_index", "context")  # of every message, and nobody's business but the client's


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def attribute(name: str) -> str:
    """A field's name in Python: that of the API, unless it is a keyword."""
    return name + "_" if keyword.iskeyword(name) else name


@dataclasses.dataclass(frozen=True)
class Kind:
    """How values of one type of the API look in Python."""

    annotation: str                       # for signatures, documentation and stubs
    accepts: str                          # what arguments may be, when that is more
    zero: Any                             # the default of a field that has none of its own
    to_python: Callable[[Any], Any]       # from plain data
    to_plain: Callable[[Any], Any]        # and back; the compiled part checks


def _same(value: Any) -> Any:
    return value


def _text(annotation: str, make: Callable[[str], Any], accepts: str = "") -> Kind:
    return Kind(annotation, accepts or f"{annotation} | str", None, make, lambda v: None if v is None else str(v))


_ADDRESS = "ipaddress.IPv4Address | ipaddress.IPv6Address"
_TEXTS = {
    "ip4_address": _text("ipaddress.IPv4Address", ipaddress.IPv4Address),
    "ip6_address": _text("ipaddress.IPv6Address", ipaddress.IPv6Address),
    "mac_address": _text("str", _same, "str"),
    "address": _text(_ADDRESS, ipaddress.ip_address),
    "ip4_prefix": _text("ipaddress.IPv4Network", lambda t: ipaddress.IPv4Network(t, strict=False)),
    "ip6_prefix": _text("ipaddress.IPv6Network", lambda t: ipaddress.IPv6Network(t, strict=False)),
    "prefix": _text("ipaddress.IPv4Network | ipaddress.IPv6Network", lambda t: ipaddress.ip_network(t, strict=False)),
}
# An address of an interface with its network's length keeps the bits that a network would lose.
_INTERFACES = {
    "ip4_prefix": _text("ipaddress.IPv4Interface", ipaddress.IPv4Interface),
    "ip6_prefix": _text("ipaddress.IPv6Interface", ipaddress.IPv6Interface),
    "prefix": _text("ipaddress.IPv4Interface | ipaddress.IPv6Interface", ipaddress.ip_interface),
}
_PLAIN = {
    "int": Kind("int", "int", 0, _same, _same),
    "float": Kind("float", "float", 0.0, _same, _same),
    "bool": Kind("bool", "bool", False, _same, _same),
    "str": Kind("str", "str", "", _same, _same),
}
_BYTES = Kind("bytes", "bytes", b"", bytes.fromhex, lambda v: bytes(v).hex() if v is not None else None)


def short_names(names: list[str]) -> list[str]:
    """Enumerators without the words that all begin with: IF_API_TYPE_SUB, IF_API_TYPE_P2P -> SUB, P2P."""
    words = [name.split("_") for name in names]
    n = 0
    while len(names) > 1 and all(len(w) > n + 1 for w in words) and len({w[n] for w in words}) == 1:
        n += 1
    short = ["_".join(w[n:]) for w in words]
    usable = all(s.isidentifier() and not keyword.iskeyword(s) for s in short) and len(set(short)) == len(short)
    return short if usable else names


@dataclasses.dataclass(frozen=True)
class Field:
    name: str        # as in the API
    attribute: str   # as in Python
    kind: Kind
    default: Any


class Model:
    """All types and messages of one description."""

    def __init__(self, description: dict):
        self.description = description
        self.types: dict[str, type] = {}      # classes by their Python name
        self.messages: dict[str, type] = {}   # classes of replies, details and events, by the API's name
        self._kinds: dict[str, Kind] = {}

    # --- Types.

    def kind(self, name: str) -> Kind:
        if name not in self._kinds:
            self._kinds[name] = self._make_kind(name, self.description["types"][name])
        return self._kinds[name]

    def _make_kind(self, name: str, d: dict) -> Kind:
        if "text" in d:
            is_interface = name.endswith("_with_prefix") and d["text"] in _INTERFACES
            return (_INTERFACES if is_interface else _TEXTS)[d["text"]]
        if d["kind"] in _PLAIN:
            return _PLAIN[d["kind"]]
        if d["kind"] in ("enum", "flags"):
            return self._enum_kind(name, d)
        if d["kind"] == "array":
            return self._list_kind(d["element"])
        return self._struct_kind(name, d)

    def _enum_kind(self, name: str, d: dict) -> Kind:
        base: Any = enum.IntFlag if d["kind"] == "flags" else enum.IntEnum
        names = [n for n, _ in d["enumerators"]]
        values = [v for _, v in d["enumerators"]]
        # The long names, which are those of the API's files, are aliases of the short ones.
        members = dict(zip(short_names(names), values)) | dict(zip(names, values))
        cls = base(camel(name), members, module="hostloom")
        cls.__doc__ = d.get("comment") or f"{camel(name)} of the API."
        self._add_type(cls)

        def to_python(value: int) -> Any:
            try:
                return cls(value)
            except ValueError:  # a newer daemon has more
                return value

        def to_plain(value: Any) -> Any:
            return int(cls[value]) if isinstance(value, str) and value in cls.__members__ else \
                int(value) if isinstance(value, enum.IntEnum | enum.IntFlag) else value

        zero = to_python(0) if d["kind"] == "flags" or 0 in values else 0
        return Kind(cls.__name__, f"{cls.__name__} | int | str", zero, to_python, to_plain)

    def _list_kind(self, element_name: str) -> Kind:
        if element_name == "u8":
            return _BYTES
        element = self.kind(element_name)

        def to_plain(values: Any) -> Any:
            return None if values is None else [element.to_plain(v) for v in values]

        return Kind(f"list[{element.annotation}]", f"Sequence[{element.accepts}]", (),
                    lambda values: [element.to_python(v) for v in values], to_plain)

    def _struct_kind(self, name: str, d: dict) -> Kind:
        is_union = d["kind"] == "union"
        fields = self.fields(d["fields"])
        cls = self._make_class(camel(name), fields, d.get("comment", ""), is_union)
        self._add_type(cls)
        # An address that nobody says the family of is taken as one all the same.
        is_address = is_union and name == "address_union"

        def to_plain(value: Any) -> Any:
            if is_address and isinstance(value, str | ipaddress.IPv4Address | ipaddress.IPv6Address):
                return str(value)
            return plain_fields(fields, value, skip_none=is_union)

        return Kind(cls.__name__, f"{cls.__name__} | dict" + (f" | {_ADDRESS} | str" if is_address else ""), None,
                    lambda value: object_from(cls, fields, value), to_plain)

    def _add_type(self, cls: type) -> None:
        self.types[cls.__name__] = cls

    def fields(self, descriptions: list[dict], skip: tuple[str, ...] = ()) -> list[Field]:
        out = []
        for d in descriptions:
            if d.get("is_count") or d["name"] in skip:
                continue
            kind = self._list_kind(d["type"]) if "shape" in d else self.kind(d["type"])
            default = d.get("default")
            if isinstance(default, str):  # an enumerator
                default = dict(self.description["types"][d["type"]].get("enumerators", ())).get(default, default)
            default = kind.zero if default is None else kind.to_python(default)
            out.append(Field(d["name"], attribute(d["name"]), kind, default))
        return out

    @staticmethod
    def _make_class(name: str, fields: list[Field], comment: str, is_union: bool = False) -> type:
        def entry(f: Field):
            if is_union:
                return f.attribute, f"Optional[{f.kind.annotation}]", dataclasses.field(default=None)
            if f.default == () or isinstance(f.default, list):
                return f.attribute, f.kind.annotation, dataclasses.field(default_factory=list)
            return f.attribute, f.kind.annotation, dataclasses.field(default=f.default)

        cls = dataclasses.make_dataclass(name, [entry(f) for f in fields], kw_only=True)
        cls.__module__ = "hostloom"
        what = "One of these members, the others None." if is_union else ""
        cls.__doc__ = "\n\n".join(filter(None, [comment or f"{name} of the API.", what, "\n".join(describe(fields))]))
        return cls

    # --- Messages.

    def message_class(self, name: str) -> type:
        """The class of a reply, of details or of an event."""
        if name not in self.messages:
            d = self.description["messages"][name]
            self.messages[name] = self._make_class(camel(name), self.message_fields(name), d["comment"])
        return self.messages[name]

    def message_fields(self, name: str) -> list[Field]:
        return self.fields(self.description["messages"][name]["fields"], HIDDEN)

    def message(self, name: str) -> Callable[[dict], Any]:
        """Makes objects of a message's class from plain data."""
        cls, fields = self.message_class(name), self.message_fields(name)
        return lambda value: object_from(cls, fields, value)


def describe(fields: list[Field]) -> list[str]:
    return [f"{f.attribute}: {f.kind.annotation}" for f in fields]


def object_from(cls: type, fields: list[Field], value: dict) -> Any:
    return cls(**{f.attribute: f.kind.to_python(value[f.name]) for f in fields if f.name in value})


def plain_fields(fields: list[Field], value: Any, skip_none: bool = False) -> Optional[dict]:
    """Plain data of an object or dict. Unknown keys are left for the compiled part to refuse by name."""
    if value is None:
        return None
    if isinstance(value, dict):
        known = {f.attribute: f for f in fields} | {f.name: f for f in fields}
        return {known[k].name if k in known else k: known[k].kind.to_plain(v) if k in known else v
                for k, v in value.items()}
    if not dataclasses.is_dataclass(value):
        return value
    plain = {f.name: f.kind.to_plain(getattr(value, f.attribute)) for f in fields}
    return {k: v for k, v in plain.items() if v is not None or not skip_none}
