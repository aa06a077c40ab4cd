"""The reference pages: docs/api/NAME.md for each module, and README.md, which lists them."""


def type_text(f):
    if f.shape == "fixed_string":
        return f"string, at most {f.length - 1} bytes"
    if f.shape == "string":
        return "string"
    name = f.type.name if f.type.kind == "scalar" else f"[{f.type.name}](#{f.type.name})" if f.type.is_own else f.type.name
    if f.shape == "fixed":
        return f"{name}[{f.length}]"
    if f.shape == "variable":
        return f"{name}[{f.count}]"
    return name


def field_rows(fields, secrets):
    rows = []
    for f in fields:
        notes = []
        if f.shape == "count":
            notes.append(f"elements of `{f.count}`")
        if f.default is not None:
            notes.append(f"default {f.default}")
        if f in secrets:
            notes.append("secret")
        if "case" in f.options:
            notes.append(f"when {f.options['case']}")
        rows.append(f"| `{f.name}` | {type_text(f)} | {'; '.join(notes)} |\n")
    return rows


def table(fields, secrets=()):
    if not fields:
        return "No fields.\n"
    return "| field | type | |\n|---|---|---|\n" + "".join(field_rows(fields, secrets))


def message_text(m):
    fields = [f for f in m.fields if f.name not in ("client_index", "context")]
    return f"### {m.name}\n\n{m.comment}\n\n{table(fields, m.secrets)}\nCRC {m.crc}.\n"


def service_title(name, s):
    if s.get("stream_msg"):
        return f"`{name}` -> `{s['stream_msg']}` ..., `{s['reply']}`"
    title = f"`{name}` -> `{s['reply']}`" + (" ..." if s.get("stream") else "")
    return title + "".join(f", later `{e}`" for e in s.get("events", []))


def type_section(t):
    text = f"### {t.name}\n\n"
    if t.kind == "alias":
        return text + f"An alias for {t.base.name}{f'[{t.length}]' if t.length else ''}.\n"
    what = {"enum": f"An enumeration, {t.base and t.base.name}.", "union": "A union: one of these.",
            "enumflag": f"Flags, {t.base and t.base.name}.", "type": ""}[t.kind]
    said = " ".join(x for x in (what, t.comment) if x)
    text += f"{said}\n\n" if said else ""
    if t.enumerators:
        return text + "| name | value |\n|---|---|\n" + "".join(f"| `{n}` | {v} |\n" for n, v in t.enumerators)
    return text + table(t.fields)


def page(module):
    out = [f"# {module.name} {'.'.join(module.version)}\n\n"
           "<!-- Generated from the *.api.json file: change that, then build target api_docs. -->\n\n"
           "Fields are listed behind the message's id, `client_index` and `context`.\n"]
    if any(m.secrets for m in module.messages.values()):
        out.append("What is secret is zeros in `api trace`, and is cleared from memory once it is handled.\n")
    told = set()
    for name, s in module.services.items():
        out.append(f"\n## {service_title(name, s)}\n")
        for m in [name, s.get("stream_msg"), s["reply"], *s.get("events", [])]:
            if m in module.messages and m not in told:
                told.add(m)
                out.append("\n" + message_text(module.messages[m]))
    rest = [m for m in module.messages.values() if m.name not in told]
    if rest:
        out.append("\n## Other messages\n" + "".join("\n" + message_text(m) for m in rest))
    if module.own_types():
        out.append("\n## Types\n" + "".join("\n" + type_section(t) for t in module.own_types()))
    return "".join(out)


def index(modules):
    rows = "".join(
        f"| [{m.name}]({m.name}.md) | {'.'.join(m.version)} | {', '.join(f'`{s}`' for s in m.services)} |\n"
        for m in sorted(modules, key=lambda m: m.name))
    return ("# The binary API's messages\n\n"
            "<!-- Generated from the *.api.json files: change those, then build target api_docs. -->\n\n"
            "A request is answered by its reply, or by any number of details that a `control_ping` behind it ends.\n\n"
            "| module | version | requests |\n|---|---|---|\n" + rows)
