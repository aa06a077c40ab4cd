"""Reads *.api.json files: types, messages and services as objects, every mistake as a Malformed.

A Malformed says "FILE: message NAME, field FIELD: what is wrong".
"""
import json
import os
import re
import zlib

SCALARS = {  # bytes on the wire
    "u8": 1, "u16": 2, "u32": 4, "u64": 8, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "f64": 8, "bool": 1,
}
TOP_LEVEL = {"types": list, "messages": list, "unions": list, "enums": list, "enumflags": list, "services": dict,
             "options": dict, "aliases": dict, "vl_api_version": str, "imports": list, "counters": list,
             "paths": list}
IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*$")
ENUMERATOR = re.compile(r"[A-Z_][A-Z0-9_]*$")
MAX_NAME = 63 - len("_01234567")  # what the message table holds of a name, with its CRC


class Malformed(Exception):
    pass


class Type:
    """kind: scalar, alias, enum, enumflag, type, union. size: bytes on the wire, None when it varies."""

    def __init__(self, kind, name, size, least, **more):
        self.kind, self.name, self.size, self.least = kind, name, size, least
        self.fields = more.get("fields", [])            # of types and unions
        self.base = more.get("base")                    # of aliases and enums: another Type
        self.length = more.get("length", 0)             # of aliases for arrays
        self.enumerators = more.get("enumerators", [])  # [[NAME, value]]
        self.comment = more.get("comment", "")
        self.canonical = more.get("canonical")          # the definition with the types it uses, for CRCs
        self.is_own = more.get("is_own", True)          # not imported

    def underlying(self):
        """The type behind aliases that rename and nothing else."""
        return self.base.underlying() if self.kind == "alias" and not self.length else self


class Field:
    """shape: one, fixed (array), variable (array), count (of a variable array), string, fixed_string."""

    def __init__(self, name, type_, shape, length=0, count=None, default=None, options=None):
        self.name, self.type, self.shape, self.length = name, type_, shape, length
        self.count = count      # variable: the count field's name; count: the array's
        self.default = default
        self.options = options or {}

    @property
    def least(self):
        """Bytes on the wire at least."""
        return {"string": 4, "fixed_string": self.length, "variable": 0}.get(
            self.shape, self.type.least * (self.length or 1) if self.type else 0)

    @property
    def size(self):
        """Bytes on the wire, None when that varies."""
        if self.shape in ("string", "variable"):
            return None
        if self.shape == "fixed_string":
            return self.length
        return None if self.type.size is None else self.type.size * (self.length or 1)


class Message:
    """secrets: the fields that are; secret_range: where they are behind the id, as (at, bytes), no number of bytes for
    all the rest."""

    def __init__(self, name, fields, crc, comment, options, secrets, secret_range):
        self.name, self.fields, self.crc, self.comment, self.options = name, fields, crc, comment, options
        self.secrets, self.secret_range = secrets, secret_range


class Module:
    """One file. types are in an order in which each follows those that it uses."""

    def __init__(self, path, include):
        self.path, self.include = path, include
        self.name = os.path.basename(path).removesuffix(".api.json")
        self.types = {n: Type("scalar", n, size, size, canonical=n) for n, size in SCALARS.items()}
        self.enumerators = {}  # NAME -> the enum that has it
        self.messages = {}
        self.data = self.load(path)
        self.imports = self.data.get("imports", [])
        for imported in self.imports:
            if not isinstance(imported, str):
                self.fail(None, None, None, f"imports: {json.dumps(imported)} is not a file's name")
            self.import_from(self.find(imported), [path])
        self.define_types(self.data, True)
        for d in self.data.get("messages", []):
            self.define_message(d)
        self.services = self.data.get("services", {})
        self.check_services()
        options = self.data.get("options", {})
        self.version = str(options.get("version", "0.0.0")).split(".")
        if len(self.version) != 3 or not all(v.isdigit() for v in self.version):
            self.fail(None, None, None, f"options: version '{options['version']}' is not x.y.z")

    def own_types(self):
        return [t for t in self.types.values() if t.is_own and t.kind != "scalar"]

    def fail(self, what, name, field, why):
        place = f"{self.path}: {what} {name}" if name else self.path
        raise Malformed(f"{place}, field {field}: {why}" if field else f"{place}: {why}")

    def load(self, path):
        def no_duplicates(pairs):
            keys = [k for k, _ in pairs]
            for k in keys:
                if keys.count(k) > 1:
                    raise Malformed(f"{path}: key '{k}' is there twice")
            return dict(pairs)

        try:
            with open(path, encoding="utf-8") as f:
                data = json.load(f, object_pairs_hook=no_duplicates)
        except OSError as e:
            raise Malformed(f"{path}: {e.strerror}") from e
        except ValueError as e:
            raise Malformed(f"{path}: not JSON: {e}") from e
        if not isinstance(data, dict):
            raise Malformed(f"{path}: not a JSON object")
        for key, value in data.items():
            if key not in TOP_LEVEL:
                raise Malformed(f"{path}: unknown key '{key}'")
            if not isinstance(value, TOP_LEVEL[key]):
                kind = {list: "an array", dict: "an object", str: "a string"}[TOP_LEVEL[key]]
                raise Malformed(f"{path}: {key} is not {kind}")
        return data

    def find(self, imported):
        folders = [os.path.dirname(self.path), *self.include]
        for folder in folders:
            if os.path.exists(os.path.join(folder, imported)):
                return os.path.join(folder, imported)
        raise Malformed(f"{self.path}: imports: '{imported}' is in none of {', '.join(f or '.' for f in folders)}")

    def import_from(self, path, way):
        """The types of a file, and of those that it imports."""
        if path in way:
            raise Malformed(f"{self.path}: imports: " + " -> ".join(way[way.index(path):] + [path]))
        data = self.load(path)
        for further in data.get("imports", []):
            self.import_from(self.find(further), way + [path])
        importer, self.path = self.path, path  # whose mistakes these are
        self.define_types(data, False)
        self.path = importer

    # --- Types.

    def define_types(self, data, is_own):
        waiting = [("alias", name, d) for name, d in data.get("aliases", {}).items()]
        for key, kind in (("enums", "enum"), ("enumflags", "enumflag"), ("types", "type"), ("unions", "union")):
            for d in data.get(key, []):
                if not isinstance(d, list) or not d or not isinstance(d[0], str):
                    self.fail(kind, json.dumps(d), None, "not a list that starts with a name")
                waiting.append((kind, d[0], d))
        names = {}
        for kind, name, _ in waiting:
            if not IDENTIFIER.match(name):
                self.fail(kind, name, None, "not a name of lower-case letters, digits and _")
            if name in names or (name in self.types and (is_own or self.types[name].is_own)):
                self.fail(kind, name, None, "defined twice")
            names[name] = kind
        while waiting:
            pending = {name for _, name, _ in waiting}
            later = []
            for kind, name, d in waiting:
                if self.uses(kind, d) & pending - {name}:
                    later.append((kind, name, d))
                elif name not in self.types:  # imported twice, on two ways
                    self.types[name] = getattr(self, f"make_{kind.replace('flag', '')}")(kind, name, d)
                    self.types[name].is_own = is_own
            if len(later) == len(waiting):
                self.fail(later[0][0], later[0][1], None, "types refer to each other in a circle")
            waiting = later

    @staticmethod
    def uses(kind, d):
        if kind == "alias":
            used = [d.get("type")] if isinstance(d, dict) else []
        else:
            used = [f[0] for f in d[1:] if isinstance(f, list) and f]
        return {u[7:-2] for u in used if isinstance(u, str) and u.startswith("vl_api_")}

    def make_alias(self, kind, name, d):
        if not isinstance(d, dict) or not isinstance(d.get("type"), str):
            self.fail(kind, name, None, 'not {"type": ...}')
        base = self.resolve(kind, name, None, d["type"])
        length = d.get("length", 0)
        if type(length) is not int or length < 0:
            self.fail(kind, name, None, f"length {json.dumps(length)} is not a number of elements")
        times = length or 1
        return Type(kind, name, None if base.size is None else base.size * times, base.least * times, base=base,
                    length=length, canonical=["alias", base.canonical, length])

    def make_enum(self, kind, name, d):
        options = d[-1] if isinstance(d[-1], dict) else None
        if options is None or "enumtype" not in options:
            self.fail(kind, name, None, 'does not end with {"enumtype": ...}')
        base = options["enumtype"]
        if base not in SCALARS or base in ("f64", "bool"):
            self.fail(kind, name, None, f"enumtype {json.dumps(base)} is not an integer type")
        bits = SCALARS[base] * 8
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if base[0] == "i" else (0, (1 << bits) - 1)
        for e in d[1:-1]:
            if not isinstance(e, list) or len(e) != 2 or not isinstance(e[0], str) or type(e[1]) is not int:
                self.fail(kind, name, None, f"{json.dumps(e)} is not [NAME, number]")
            if not ENUMERATOR.match(e[0]):
                self.fail(kind, name, e[0], "not a name of capital letters, digits and _")
            if e[0] in self.enumerators:
                self.fail(kind, name, e[0], f"is in enum {self.enumerators[e[0]]} already")
            if not low <= e[1] <= high:
                self.fail(kind, name, e[0], f"{e[1]} is not within {base}")
            self.enumerators[e[0]] = name
        if len(d) == 2:
            self.fail(kind, name, None, "has no enumerators")
        return Type(kind, name, SCALARS[base], SCALARS[base], base=self.types[base], enumerators=d[1:-1],
                    comment=options.get("comment", ""), canonical=[kind, base, d[1:-1]])

    def make_type(self, kind, name, d):
        fields = self.make_fields(kind, name, d[1:])
        if not fields:
            self.fail(kind, name, None, "has no fields")
        sizes = [f.size for f in fields]
        size = None if None in sizes else sum(sizes)
        return Type(kind, name, size, max(1, sum(f.least for f in fields)), fields=fields,
                    comment=self.comment_of(kind, name, d), canonical=self.canonical_fields(d[1:]))

    def make_union(self, kind, name, d):
        """As long as its longest member; its user knows which one it is."""
        fields = self.make_fields(kind, name, d[1:])
        if not fields:
            self.fail(kind, name, None, "has no members")
        for f in fields:
            if f.size is None:
                self.fail(kind, name, f.name, "a member of a union has a fixed length")
        size = max(f.size for f in fields)
        return Type(kind, name, size, size, fields=fields, comment=self.comment_of(kind, name, d),
                    canonical=["union", self.canonical_fields(d[1:])])

    def comment_of(self, kind, name, d):
        last = d[-1] if isinstance(d[-1], dict) else {}
        for key in last:
            if key not in ("crc", "options", "comment") and (kind, key) != ("message", "secret"):
                self.fail(kind, name, None, f"unknown key '{key}'")
        comment = last.get("comment", "")
        if not isinstance(comment, str):
            self.fail(kind, name, None, "comment is not a string")
        return comment

    def resolve(self, kind, name, field, type_name):
        if type_name in SCALARS:
            return self.types[type_name]
        if isinstance(type_name, str) and type_name.startswith("vl_api_") and type_name.endswith("_t"):
            if type_name[7:-2] in self.types:
                return self.types[type_name[7:-2]]
        self.fail(kind, name, field, f"unknown type '{type_name}'")

    def make_fields(self, kind, name, items):
        out = {}
        for i, item in enumerate(items):
            if isinstance(item, dict) and i == len(items) - 1:
                continue
            if not isinstance(item, list) or len(item) < 2 or not isinstance(item[1], str):
                self.fail(kind, name, None, f"{json.dumps(item)} is not [type, field, ...]")
            type_name, field = item[0], item[1]
            if not IDENTIFIER.match(field):
                self.fail(kind, name, field, "not a name of lower-case letters, digits and _")
            if field in out:
                self.fail(kind, name, field, "named twice")
            options = item[-1] if isinstance(item[-1], dict) else {}
            if self.is_secret(kind, name, field, options) and kind != "message":
                self.fail(kind, name, field, "only a message or one of its fields is secret")
            out[field] = self.make_field(kind, name, field, type_name, item[2:len(item) - bool(options)], options, out)
        return list(out.values())

    def make_field(self, kind, name, field, type_name, rest, options, before):
        is_number = rest and type(rest[0]) is int and rest[0] >= 0
        if len(rest) > 2 or (rest and not is_number) or (len(rest) == 2 and (rest[0] or not isinstance(rest[1], str))):
            self.fail(kind, name, field, f"length {json.dumps(rest)} is not N or 0, \"count\"")
        length, count = rest[0] if rest else None, rest[1] if len(rest) == 2 else None
        if type_name == "string":
            if count is not None:
                self.fail(kind, name, field, "a string has no count field")
            if length is None:
                self.fail(kind, name, field, "a string has a length: N, or 0 for any")
            return Field(field, None, "fixed_string" if length else "string", length or 0, options=options)
        type_ = self.resolve(kind, name, field, type_name)
        if length is None:
            return Field(field, type_, "one", options=options,
                         default=self.check_default(kind, name, field, type_, options.get("default")))
        if length:
            return Field(field, type_, "fixed", length, options=options)
        counter = before.get(count)
        if not counter or not counter.type or counter.type.name not in ("u8", "u16", "u32"):
            self.fail(kind, name, field, f"count field '{count}' is not an unsigned field before it")
        if counter.shape != "one":
            self.fail(kind, name, field, f"count field '{count}' counts another array already, or is one")
        counter.shape, counter.count = "count", field
        return Field(field, type_, "variable", count=count, options=options)

    def check_default(self, kind, name, field, type_, value):
        if value is None:
            return None
        behind = type_.underlying()
        if behind.kind in ("enum", "enumflag") and value in [e[0] for e in behind.enumerators]:
            return value
        if behind.kind in ("scalar", "enum", "enumflag") and isinstance(value, (int, float)):
            return value
        self.fail(kind, name, field, f"default {json.dumps(value)} is not one of its values")

    # --- CRCs: any change of the definition or of a type that it uses is another number.

    def canonical_of(self, type_name):
        if isinstance(type_name, str) and type_name.startswith("vl_api_"):
            return self.types[type_name[7:-2]].canonical
        return type_name

    def canonical_fields(self, items):
        return [[self.canonical_of(f[0])] + [x for x in f[1:] if not isinstance(x, dict)]
                for f in items if isinstance(f, list)]

    # --- Messages and services.

    def define_message(self, d):
        if not isinstance(d, list) or not d or not isinstance(d[0], str):
            self.fail("message", json.dumps(d), None, "not a list that starts with a name")
        name = d[0]
        if not IDENTIFIER.match(name):
            self.fail("message", name, None, "not a name of lower-case letters, digits and _")
        if len(name) > MAX_NAME:
            self.fail("message", name, None, f"longer than {MAX_NAME} characters, which is what the table holds")
        if name in self.messages:
            self.fail("message", name, None, "defined twice")
        fields = self.make_fields("message", name, d[1:])
        if not fields or fields[0].name != "_vl_msg_id" or fields[0].type is not self.types["u16"]:
            self.fail("message", name, "_vl_msg_id", "must come first, as u16")
        comment = self.comment_of("message", name, d)
        last = d[-1] if isinstance(d[-1], dict) else {}
        crc = last.get("crc")
        if crc is None:
            crc = "0x%08x" % zlib.crc32(json.dumps([name, self.canonical_fields(d[1:])]).encode())
        if not isinstance(crc, str) or not re.match(r"0x[0-9a-f]{8}$", crc):
            self.fail("message", name, None, f"crc {json.dumps(crc)} is not 0x and 8 hex digits")
        secrets = self.secrets_of(name, fields[1:], self.is_secret("message", name, None, last))
        self.messages[name] = Message(name, fields[1:], crc, comment, last.get("options", {}), secrets,
                                      self.range_of(name, fields[1:], secrets))

    # --- Secrets: what a trace does not keep and memory forgets. They are no part of the CRC.

    def is_secret(self, kind, name, field, options):
        if options.get("secret", True) is not True:
            self.fail(kind, name, field, f"secret {json.dumps(options['secret'])} is not true")
        return "secret" in options

    def secrets_of(self, name, fields, all_of_it):
        marked = [f for f in fields if f.name not in ("client_index", "context") and f.shape != "count" and
                  (all_of_it or "secret" in f.options)]
        for f in fields:
            if "secret" in f.options and f not in marked:
                self.fail("message", name, f.name, "cannot be secret")
        for f in marked:
            if f.type and f.type.underlying().kind in ("type", "union") and f.type.size is None:
                self.fail("message", name, f.name, "a secret of a type that varies in length cannot be cleared")
        return marked

    def range_of(self, name, fields, secrets):
        if not secrets:
            return None
        first, last = fields.index(secrets[0]), fields.index(secrets[-1])
        if any(f.size is None for f in fields[:first]):
            self.fail("message", name, secrets[0].name, "a secret comes before what varies in length")
        sizes = [f.size for f in fields[first:last + 1]]
        return sum(f.size for f in fields[:first]), None if None in sizes else sum(sizes)

    def check_services(self):
        for name, s in self.services.items():
            if not isinstance(s, dict):
                self.fail("service", name, None, 'not {"reply": ...}')
            for key in s:
                if key not in ("reply", "stream", "stream_msg", "events"):
                    self.fail("service", name, None, f"unknown key '{key}'")
            if not isinstance(s.get("events", []), list):
                self.fail("service", name, None, "events is not an array")
            self.check_head(name, name, ["client_index", "context"], ["context"])
            for key in ("reply", "stream_msg"):
                if s.get(key, "null") != "null":
                    self.check_head(name, s[key], ["context"], ["client_index", "context"])
            if not isinstance(s.get("reply"), str):
                self.fail("service", name, None, "has no reply")
            for event in s.get("events", []):
                self.check_head(name, event, ["client_index"], ["context"])

    def check_head(self, service, message, *heads):
        """The first fields of a message are what its part in a conversation asks for."""
        if message not in self.messages:
            self.fail("service", service, None, f"unknown message '{message}'")
        fields = self.messages[message].fields
        for head in heads:
            if [(f.name, f.type and f.type.name) for f in fields[:len(head)]] == [(h, "u32") for h in head]:
                return
        self.fail("message", message, heads[0][0], f"must be there as u32, right behind the id (service {service})")
