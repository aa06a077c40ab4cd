"""The description that clients load: the source completed, in the shape that VPP's tools read."""
import json
import zlib


def without_secrets(d):
    """A message's fields as clients know them: what is secret is the daemon's affair."""
    def bare(options):
        return [{k: v for k, v in options.items() if k != "secret"}] if options.keys() - {"secret"} else []

    return [f[:-1] + bare(f[-1]) if isinstance(f, list) and isinstance(f[-1], dict) else f for f in d]


def without_options(d):
    """A type's or union's definition: clients look for a CRC in whatever object they find in it."""
    return [x for x in d if not isinstance(x, dict)]


def described(module):
    source = module.data
    messages = []
    for d in source.get("messages", []):
        m = module.messages[d[0]]
        messages.append(without_secrets(without_options(d)) + [{"crc": m.crc, "options": m.options, "comment": m.comment}])
    return {
        "types": [without_options(d) for d in source.get("types", [])],
        "messages": messages,
        "unions": [without_options(d) for d in source.get("unions", [])],
        "enums": [d[:-1] + [{"enumtype": d[-1]["enumtype"]}] for d in source.get("enums", [])],
        "enumflags": [d[:-1] + [{"enumtype": d[-1]["enumtype"]}] for d in source.get("enumflags", [])],
        "services": source.get("services", {}),
        "options": {**source.get("options", {}), "version": ".".join(module.version)},
        "aliases": source.get("aliases", {}),
        "vl_api_version": "0x%08x" % zlib.crc32(json.dumps([[m.name, m.crc] for m in module.messages.values()]).encode()),
        "imports": source.get("imports", []),
        "counters": source.get("counters", []),
        "paths": source.get("paths", []),
    }


def text(module):
    return json.dumps(described(module), separators=(",", ":"))


def readable(module):
    """The same with a line for each message and field list, for the installed file."""
    return json.dumps(described(module), indent=1) + "\n"
