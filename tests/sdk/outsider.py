"""What an outsider has: a prefix with Hostloom in it, a compiler, and a folder of his own. Builds there, and gives the
files to a daemon of that prefix. Nothing of the source tree is within reach of what is built."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lab"))
import lab as laboratory  # noqa: E402
from lab import Failure  # noqa: E402

PREFIX = pathlib.Path(os.environ["HOSTLOOM_PREFIX"]).resolve()
CXX, CC = os.environ.get("CXX", "c++"), os.environ.get("CC", "cc")
FLAGS = "-Wall -Wextra -Werror"


def expect(condition, message):
    if not condition:
        raise Failure(message)


def run(command, **kw):
    try:
        done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=500, **kw)
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode(errors="replace")
        raise Failure(f"{' '.join(map(str, command))}: did not end\n{said[-6000:]}") from None
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout[-6000:]}")
    return done.stdout


class Workshop:
    """A temporary folder to build in; a context manager."""

    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hostloom-sdk-"))
        self.dir.chmod(0o755)
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.dir, ignore_errors=True)

    def build(self, source, include=None):
        """Copies a project here, builds it against the prefix, installs it to a prefix of its own, and returns that.
        `include`: headers of an older contract, which take the place of the installed ones."""
        source = pathlib.Path(source)
        copy = self.dir / source.name
        if copy != source:
            shutil.copytree(source, copy)
        if (copy / "project.cmake").exists():  # a name that this tree's own build does not pick up
            (copy / "project.cmake").rename(copy / "CMakeLists.txt")
        flags = f"-I{include} {FLAGS}" if include else FLAGS
        for file in copy.glob("*.cc") if include else ():
            # 1.0 wanted these three noexcept.
            file.write_text(re.sub(r"^((?:Result<void>|void) (?:init|start|stop)\(Host&(?: host)?\)) \{", r"\1 noexcept {",
                                   file.read_text(), flags=re.M))
        installed = self.dir / (source.name + "-installed")
        run(["cmake", "-G", "Ninja", "-S", copy, "-B", copy / "build", f"-DCMAKE_PREFIX_PATH={PREFIX}",
             f"-DCMAKE_INSTALL_PREFIX={installed}", f"-DCMAKE_CXX_COMPILER={CXX}", f"-DCMAKE_C_COMPILER={CC}",
             f"-DCMAKE_CXX_FLAGS={flags}", f"-DCMAKE_C_FLAGS={FLAGS}"])
        run(["cmake", "--build", copy / "build"])
        run(["cmake", "--install", copy / "build"])
        return installed

    def example(self, name, include=None):
        """An example as it is installed; the path of its plugin."""
        return plugin(self.build(PREFIX / "share/hostloom/examples" / name, include), name)


def plugin(installed, name):
    file = installed / "lib/hostloom/plugins" / f"{name}.so"
    expect(file.exists(), f"{file} was not installed")
    return file


def Lab(**kw):
    return laboratory.Lab(build=PREFIX, **kw)


def load(lab, file, name=None):
    """Loads the plugin into the daemon that runs, and expects it to run from then on."""
    name = name or pathlib.Path(file).stem
    answer = lab.cli("plugin", "load", str(file))
    expect(answer.strip() == f"loaded {name}", f"plugin load {file}: {answer}")
    row = [p for p in lab.cli("show", "plugins", as_json=True)["plugins"] if p["plugin"] == name]
    expect(len(row) == 1 and row[0]["state"] == "running", f"show plugins says {row}")


def counter(lab, node, name):
    """A node's counter; 0 when it is not listed."""
    rows = next(iter(lab.cli("show", "errors", as_json=True).values()), [])
    return sum(int(r["count"]) for r in rows if r["node"] == node and r["reason"] == name)
