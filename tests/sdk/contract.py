"""Compares the structures of two versions of the contract, as a compiler lays them out.

A plugin carries the layout that its compiler saw. So a field never moves and never changes its type; and a structure
becomes longer only where the other side does not depend on its size."""

import pathlib
import re
import subprocess
import tempfile

from lab import Failure

# May grow at the end: the daemon makes them, and plugins only use them through references and pointers.
MADE_BY_THE_DAEMON = {"Worker", "NodeRuntime", "CcState", "AckSample", "LossSample", "SocketOptionsView", "ConnectionInfo",
                      "Host", "CliReply"}


def records(compiler, include, headers):
    """{name: (size, [(offset, field)])} of every structure of loom:: in these headers, by clang's own account."""
    headers = [include / "hostloom" / name for name in headers]
    # Not templates, which have no layout of their own.
    names = {name for h in headers for template, name in
             re.findall(r"^(template <.*>\n)?(?:struct|class)(?: alignas\([^)]*\))? (\w+)(?: final)?(?: :.*)? \{", h.read_text(), re.M)
             if not template}
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "all.cc"
        source.write_text("".join(f"#include <hostloom/{h.name}>\n" for h in headers) +
                          "".join(f"static_assert(sizeof(loom::{name}) != 0);\n" for name in sorted(names)))
        done = subprocess.run([compiler, "-std=c++2b", "-fsyntax-only", "-Xclang", "-fdump-record-layouts", "-I", include,
                               source], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Failure(done.stderr[-3000:])
    found = {}
    for dump in done.stdout.split("*** Dumping AST Record Layout")[1:]:
        lines = [line.split("|", 1) for line in dump.splitlines() if "|" in line]
        head = re.match(r" (?:struct|class) (loom::[\w:]+)(?: .*)?$", lines[0][1])
        if not head or "(anonymous" in lines[0][1]:
            continue
        # Fields of the structure itself are indented by three blanks; deeper ones are their types' business.
        # A function that need not be noexcept any more takes those that are.
        fields = [(offset.strip(), text.strip().replace(" noexcept", "")) for offset, text in lines[1:] if re.match(r"   [^ ]", text)]
        size = int(re.search(r"\[sizeof=(\d+)", dump)[1])
        found[head[1].removeprefix("loom::")] = (size, fields)
    return found


def is_taken(field, now):
    """A field that meant nothing has got a name, and is what it was otherwise."""
    return now and field[1].endswith(" reserved") and now[0] == field[0] and \
        now[1].rsplit(" ", 1)[0] == field[1].rsplit(" ", 1)[0]


def differences(old, new):
    for name, (size, fields) in sorted(old.items()):
        if name not in new:
            yield f"{name} is gone"
            continue
        new_size, new_fields = new[name]
        for field, now in zip(fields, new_fields + [None] * len(fields)):
            if field != now and not is_taken(field, now):
                yield f"{name}: the field '{field[1]}' at {field[0]} is now '{now[1]}' at {now[0]}" if now else \
                    f"{name}: the field '{field[1]}' is gone"
        sized = fields and fields[0] == ("0", "uint32_t struct_size")
        if name == "PluginInfo":
            sized = fields[1] == ("4", "uint32_t struct_size")
        if new_size < size or (new_size > size and not sized and name not in MADE_BY_THE_DAEMON):
            yield f"{name} had {size} bytes and has {new_size}: it has no struct_size, and plugins make it"


def check(_, old, new):
    compiler = next((c for c in ("clang++-19", "clang++") if subprocess.run(
        ["sh", "-c", f"command -v {c}"], capture_output=True).returncode == 0), None)
    if not compiler:
        raise Failure("clang++ is needed to see layouts")
    headers = sorted(h.name for h in (old / "hostloom").glob("*.h"))  # a newer one cannot have been used
    before, now = records(compiler, old, headers), records(compiler, new, headers)
    for name in ("PluginInfo", "HostOps", "TransportOps", "CcOps", "NodeInfo", "Buffer", "Worker", "InterfaceConfig"):
        if name not in before:
            raise Failure(f"clang said nothing about {name}")
    found = list(differences(before, now))
    # The comparison itself: it sees a field that moved, and a structure that grew.
    if not list(differences(now, {**now, "Buffer": (136, now["Buffer"][1])})) or \
       not list(differences(now, {**now, "CcState": (now["CcState"][0], now["CcState"][1][1:])})):
        raise Failure("the comparison is blind")
    if found:
        raise Failure("the contract has broken its promise (docs/abi.md):\n  " + "\n  ".join(found))
