#!/usr/bin/env python3
"""Reads every #include of the tree and fails on one that crosses a wall of the house.

    plugins/X   <hostloom/...>, libraries, its own files
    sdk         sdk only; <hostloom/...> headers only each other; vcl may use svm, ldp both
    core        core, <hostloom/...>, svm
    tools       sdk and their own files; python likewise
    nobody      a plugin's files, but the plugin itself (tests/ may: they test it)

usage: include_rules.py ROOT          check the tree
       include_rules.py --self-test   check this program against trees with known breaches
"""
import os
import re
import sys
import tempfile

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
SOURCES = (".h", ".hh", ".hpp", ".cc", ".cpp", ".c")
CHECKED = ("sdk", "core", "plugins", "tools", "python")


class Area:
    """What the files below one folder may include."""

    def __init__(self, name, bases, trees, generated=False):
        self.name = name            # for messages
        self.bases = bases          # folders that a quoted path is looked for in
        self.trees = trees          # folders that it may lie in
        self.generated = generated  # headers made from *.api.json


def area_of(path):
    parts = path.split("/")
    if parts[0] == "plugins":
        own = "/".join(parts[:2])
        return Area(own, [own], [own], generated=True)
    if parts[0] == "core":
        return Area("core", ["core", "sdk"], ["core", "sdk/include", "sdk/svm"], generated=True)
    if parts[0] in ("tools", "python"):
        own = "/".join(parts[:2])
        return Area(own, [own, "sdk"], [own, "sdk"], generated=True)
    if path.startswith("sdk/include/"):
        return Area("sdk/include", ["sdk/include"], ["sdk/include"])
    if path.startswith("sdk/examples/"):
        own = "/".join(parts[:3])
        return Area(own, [own], [own], generated=True)
    below = {"svm": ["svm"], "vcl": ["svm", "vcl"], "ldp": ["svm", "vcl", "ldp"],
             "client": ["client"]}
    name = parts[1] if len(parts) > 2 else ""
    trees = ["sdk/" + t for t in below.get(name, [name])] + ["sdk/include"]
    bases = ["sdk", "sdk/" + name] + [t + "/include" for t in trees]
    return Area("sdk/" + name, bases, trees, generated=name == "client")


def is_below(path, folder):
    return path.startswith(folder + "/")


def owners(files, name):
    """Where in the tree an include of that name might have been meant to lead."""
    bases = ["core", "sdk", "sdk/include", ".", "plugins"]
    bases += sorted({"/".join(f.split("/")[:2]) for f in files if f.startswith("plugins/")})
    return [f for f in (os.path.normpath(os.path.join(b, name)) for b in bases) if f in files]


def breach(files, path, quoted, angled):
    """Why the file at `path` must not have this include, or None."""
    area = area_of(path)
    if angled:
        if angled.startswith("hostloom/"):
            return None if "sdk/include/" + angled in files else "is not a header of the SDK"
        for folder in ("core", "plugins"):
            if angled.startswith(folder + "/"):
                return f"reaches into {folder}/"
        inside = [f for f in owners(files, angled)
                  if not any(is_below(f, t) for t in area.trees) and not is_below(f, "sdk/include")]
        # <net/if.h> is the system's as long as the tree has no such file.
        return f"leads to {inside[0]}, which {area.name} may not include" if inside else None
    for base in [os.path.dirname(path)] + area.bases:
        target = os.path.normpath(os.path.join(base, quoted))
        if target not in files:
            continue
        if any(is_below(target, t) for t in area.trees):
            return None
        return f"leads to {target}, which {area.name} may not include"
    if quoted.endswith(".api.h") and "/" not in quoted and area.generated:
        return None
    elsewhere = owners(files, quoted)
    return f"leads to {elsewhere[0]}, which {area.name} may not include" if elsewhere \
        else f"is no file that {area.name} has"


def check(root):
    """Breaches found in the tree, and the number of files read."""
    files = set()  # all sources, relative to root
    for top in CHECKED:
        for folder, _, names in os.walk(os.path.join(root, top)):
            files.update(os.path.relpath(os.path.join(folder, name), root)
                         for name in names if name.endswith(SOURCES))
    breaches = []
    for path in sorted(files):
        with open(os.path.join(root, path), encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                match = INCLUDE.match(line)
                why = match and breach(files, path, match[1], match[2])
                if why:
                    breaches.append(f"{path}:{number}: {match[1] or match[2]} {why}")
    return breaches, len(files)


def self_test():
    good = {
        "sdk/include/hostloom/a.h": "#include <vector>\n#include <hostloom/b.h>\n",
        "sdk/include/hostloom/b.h": "",
        "sdk/svm/ring.h": "#include <hostloom/a.h>\n",
        "sdk/vcl/session.cc": '#include "svm/ring.h"\n#include "vcl/include/vcl/vppcom.h"\n',
        "sdk/vcl/include/vcl/vppcom.h": "",
        "sdk/ldp/ldp.cc": '#include "vcl/include/vcl/vppcom.h"\n',
        "sdk/client/client.cc": '#include "vpe.api.h"\n',
        "core/graph/engine.h": '#include <net/if.h>\n#include "svm/ring.h"\n',
        "core/net/net.cc": '#include "graph/engine.h"\n',
        "plugins/tap/rx.cc": '#include <hostloom/a.h>\n#include "device.h"\n',
        "plugins/tap/device.h": "",
        "plugins/tcp/tcp.h": "",
        "tools/ctl/main.cc": '#include "client/client.h"\n',
        "python/src/module.cc": '#include "client/client.h"\n#include "wait.h"\n',
        "python/src/wait.h": "",
        "sdk/client/client.h": "",
    }
    bad = [
        ("plugins/tap/x.cc", '#include "graph/engine.h"'),
        ("plugins/tap/x.cc", '#include <graph/engine.h>'),
        ("plugins/tap/x.cc", '#  include "../../core/graph/engine.h"'),
        ("plugins/tap/x.cc", '#include "tcp.h"'),
        ("plugins/tap/x.cc", '#include "../tcp/tcp.h"'),
        ("plugins/tap/x.cc", '#include "svm/ring.h"'),
        ("plugins/tap/x.cc", "#include <hostloom/missing.h>"),
        ("plugins/tap/x.cc", '#include "nowhere.h"'),
        ("sdk/include/hostloom/x.h", '#include "svm/ring.h"'),
        ("sdk/include/hostloom/x.h", "#include <svm/ring.h>"),
        ("sdk/svm/x.h", '#include "graph/engine.h"'),
        ("sdk/svm/x.h", '#include "vcl/include/vcl/vppcom.h"'),
        ("sdk/vcl/x.cc", '#include "graph/engine.h"'),
        ("sdk/vcl/x.cc", "#include <core/graph/engine.h>"),
        ("sdk/client/x.cc", '#include "svm/ring.h"'),
        ("core/net/x.cc", '#include "vcl/include/vcl/vppcom.h"'),
        ("core/net/x.cc", '#include "../../plugins/tcp/tcp.h"'),
        ("core/net/x.cc", '#include "client/client.h"'),
        ("tools/ctl/x.cc", '#include "graph/engine.h"'),
        ("python/src/x.cc", '#include "graph/engine.h"'),
    ]

    def run(files):
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                full = os.path.join(root, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, "w", encoding="utf-8") as f:
                    f.write(text)
            return check(root)[0]

    failures = [f"a sound tree was refused: {b}" for b in run(good)]
    for path, line in bad:
        found = run({**good, path: line + "\n"})
        if len(found) != 1 or not found[0].startswith(path + ":1: "):
            failures.append(f"not found: {path}: {line} (got {found})")
    return failures


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--self-test":
        problems = self_test()
    else:
        problems, n_files = check(sys.argv[1])
        if n_files == 0:
            problems = [f"{sys.argv[1]} holds no sources"]
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
