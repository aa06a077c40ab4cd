#!/usr/bin/python3
"""What an outsider does with the SDK, in a daemon and namespaces of its own. usage: cases.py CASE

Each case sees the installed tree (HOSTLOOM_PREFIX) and what the case builds against it."""

import os
import pathlib
import re
import shutil
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import outsider  # noqa: E402  (first: it knows where lab.py is)
import contract  # noqa: E402
import lab as laboratory  # noqa: E402
from exercises import (Client, Sink, connections, exercise_app, exercise_cc, exercise_driver,  # noqa: E402
                       exercise_feature, exercise_transport)
from lab import HOST_IP4, STACK_IP4, Failure  # noqa: E402
from outsider import CXX, HERE, PREFIX, Lab, Workshop, counter, expect, load, plugin, run  # noqa: E402


# --- The package ----------------------------------------------------------------------------------------------------

def headers():
    """Nothing that an installed header includes was left behind. (That each compiles alone is the tree's own test.)"""
    flags = ["-std=c++23", *outsider.FLAGS.split(), "-fsyntax-only", "-I", PREFIX / "include"]
    found = sorted((PREFIX / "include/hostloom").glob("*.h"))
    expect(len(found) > 15, f"only {len(found)} headers are installed")
    with Workshop() as shop:
        source = shop.dir / "all.cc"
        source.write_text("".join(f"#include <hostloom/{header.name}>\n" for header in found))
        run([CXX, *flags, source])


def pkg_config():
    """Without CMake: flags and folders from pkg-config build a plugin and an application."""
    env = dict(os.environ, PKG_CONFIG_PATH=str(next(PREFIX.rglob("pkgconfig"))))

    def ask(*words):
        return run(["pkg-config", *words], env=env).split()

    expect(pathlib.Path(ask("--variable=plugindir", "hostloom")[0]).resolve() == PREFIX / "lib/hostloom/plugins", "plugindir")
    examples = PREFIX / "share/hostloom/examples"
    with Workshop() as shop, Lab() as lab:
        so = shop.dir / "cc-scalable.so"
        run([CXX, "-std=c++23", "-shared", "-fPIC", *ask("--cflags", "hostloom"), "-o", so,
             examples / "cc-scalable/cc_scalable.cc"])
        load(lab, so)
        run([outsider.CC, examples / "line-echo/line_echo_app.c", *ask("--cflags", "--libs", "vppcom"), "-o",
             shop.dir / "app"])


# --- Examples in a daemon -------------------------------------------------------------------------------------------

def feature():
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("hello-feature"))
        exercise_feature(lab, "hello-feature")


def app():
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("upper-echo"))
        exercise_app(lab, "upper-echo")


def cc():
    source = (PREFIX / "share/hostloom/examples/cc-scalable/cc_scalable.cc").read_text()
    expect(source.count("\n") < 120, "the example has become long")
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("cc-scalable"))
        exercise_cc(lab, "cc-scalable")


def cc_replaced():
    """A controller is replaced while a connection is on it: that one finishes on the old code, new ones get the new."""
    with Workshop() as shop, Lab(config_extra="tcp { cc-algo cubic }") as lab:
        sink = Sink()
        installed = shop.build(HERE / "plugins")
        load(lab, plugin(installed, "cc-fixed-10"))
        with Client(lab) as client:
            def segments(which, wanted="fixed"):
                client.do("send", which, 500_000)
                controller, window = connections(lab)[int(client.do("port", which))]
                expect(controller == wanted, f"{which} is on {controller}")
                return window

            client.do("open", "old", HOST_IP4, sink.port, "fixed")
            expect(segments("old") == 10, "the first controller does not work")
            # One that is refused after it registered changes nothing.
            try:
                lab.cli("plugin", "load", str(plugin(installed, "cc-fixed-broken")))
                raise Failure("a plugin whose init fails was loaded")
            except Failure as refused:
                expect("on second thoughts, no" in str(refused), str(refused))
            client.do("open", "same", HOST_IP4, sink.port, "fixed")
            expect(segments("same") == 10, "a refused plugin's controller is in use")

            load(lab, plugin(installed, "cc-fixed-20"))
            client.do("open", "new", HOST_IP4, sink.port, "fixed")
            expect(segments("new") == 20, "a new connection is not on the new controller")
            expect(segments("old") == 10, "the live connection was taken from its controller")
            expect(segments("new") == 20 and segments("same") == 10, "controllers are mixed up")
            client.do("close", "old")
            client.do("open", "another", HOST_IP4, sink.port, "fixed")
            expect(segments("another") == 20, "a new connection is not on the new controller")

            # The default is a name, too: whoever did not choose gets what now has it.
            client.do("open", "before", HOST_IP4, sink.port, "-")
            load(lab, plugin(installed, "cc-cubic-40"))
            client.do("open", "after", HOST_IP4, sink.port, "-")
            expect(segments("after", "cubic") == 40, "the default controller was not replaced")
            expect(segments("before", "cubic") != 40, "the live connection was taken from its controller")


def driver():
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("pcap-file"))
        exercise_driver(lab, "pcap-file")


def transport():
    with Workshop() as shop, Lab() as lab:
        installed = shop.build(PREFIX / "share/hostloom/examples/line-echo")
        load(lab, plugin(installed, "line-echo"))
        exercise_transport(lab, installed, "line-echo")


def transport_workers():
    """Programs' connections are on the workers in turn, and the peer's packets come by the one queue of one of them."""
    tap = [f"create tap id 0 host-if-name tap0 host-ip4-addr {HOST_IP4}/24 num-rx-queues 1 num-tx-queues 1",
           f"set interface ip address tap0 {STACK_IP4}/24", "set interface state tap0 up"]
    with Workshop() as shop, Lab(workers=2, startup=tap) as lab:
        installed = shop.build(PREFIX / "share/hostloom/examples/line-echo")
        load(lab, plugin(installed, "line-echo"))
        exercise_transport(lab, installed, "line-echo")
        expect(counter(lab, "line-echo-input", "elsewhere") > 0, "no packet came by another worker")


# --- Skeletons ------------------------------------------------------------------------------------------------------

def sdk(*words, cwd=None):
    return run([PREFIX / "bin/hostloom-sdk", *words], cwd=cwd)


def skeleton(shop, kind, name):
    """Written, built without a change, installed; where to."""
    sdk("new", kind, name, cwd=shop.dir)
    text = "".join(f.read_text() for f in (shop.dir / name).rglob("*") if f.is_file())
    left = re.search(r"hello[-_]feature|cc[-_]scalable|pcap[-_]file|line[-_]echo|upper[-_]echo|HelloFeature|PcapFile|LineEcho|UpperEcho", text)
    expect(not left, f"the example's name is left over: {left}")
    return shop.build(shop.dir / name)


def new_feature():
    with Workshop() as shop, Lab() as lab:
        load(lab, plugin(skeleton(shop, "feature", "my-counter"), "my-counter"))
        exercise_feature(lab, "my-counter")


def new_app():
    """Beside the example that it came from."""
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("upper-echo"))
        load(lab, plugin(skeleton(shop, "app", "my-server"), "my-server"))
        exercise_app(lab, "my-server")
        # What is open when the daemon goes down is reset, not forgotten.
        lab.cli("my-server", "listen", f"tcp://{STACK_IP4}/9")
        with socket.create_connection((STACK_IP4, 9), timeout=120) as s:
            s.sendall(b"last words")
            expect(s.recv(100) == b"LAST WORDS", "no answer")
            lab.stop(lab.daemon)
            try:
                expect(s.recv(100) == b"", "bytes after the end")
                raise Failure("the daemon's end looked like an orderly one")
            except ConnectionResetError:
                pass


def new_cc():
    with Workshop() as shop, Lab() as lab:
        load(lab, plugin(skeleton(shop, "cc", "my-cc"), "my-cc"))
        exercise_cc(lab, "my-cc")


def new_driver():
    with Workshop() as shop, Lab() as lab:
        load(lab, plugin(skeleton(shop, "driver", "my-files"), "my-files"))
        exercise_driver(lab, "my-files")


def new_transport():
    """Beside the example that it came from: both work."""
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("line-echo"))
        installed = skeleton(shop, "transport", "my-protocol")
        load(lab, plugin(installed, "my-protocol"))
        exercise_transport(lab, installed, "my-protocol", protocol=254)


def new_refuses():
    with Workshop() as shop:
        (shop.dir / "full").mkdir()
        (shop.dir / "full/file").write_text("mine")
        for words, why in ((("feature", "Bad Name"), "no name for a plugin"), (("cc", "a-name-of-sixteen"), "15 characters"),
                           (("driver", "pcap-file"), "name of an example"), (("feature", "x", "full"), "not empty"),
                           (("engine", "x"), "invalid choice"), (("transport", "x", "--proto", "7"), "not from 128")):
            try:
                sdk("new", *words, cwd=shop.dir)
                raise Failure(f"{words} was taken")
            except Failure as refused:
                expect(why in str(refused), f"{words}: {refused}")
        expect(sorted(p.name for p in shop.dir.iterdir()) == ["full"], "something was written")


# --- Versions of the contract ---------------------------------------------------------------------------------------

OLD = HERE / "contract-1.0/include"


def contract_layout():
    """What an older plugin believes about structures is still so."""
    contract.check(CXX, OLD, PREFIX / "include")


def contract_plugins():
    """Plugins built against the contract of 1.0 load, and do their work, in the daemon of today."""
    with Workshop() as shop, Lab() as lab:
        load(lab, shop.example("hello-feature", include=OLD))
        exercise_feature(lab, "hello-feature")
        load(lab, shop.example("cc-scalable", include=OLD))
        exercise_cc(lab, "cc-scalable")
        load(lab, shop.example("pcap-file", include=OLD))
        exercise_driver(lab, "pcap-file")
        # Plugins of 1.0 had no messages, and could not hand packets to other workers.
        old = shop.dir / "old/line-echo"
        shutil.copytree(PREFIX / "share/hostloom/examples/line-echo", old)
        (old / "api.cc").unlink()
        for file, what in (("CMakeLists.txt", r" api\.cc|\n +API .*?(?=\))"), ("plugin.cc", r".*add_messages.*\n"),
                           ("input.cc", r"    if \(counter == kElsewhere\) \{\n.*hand_off.*\n(.*\n){2}")):
            text, n = re.subn(what, "", (old / file).read_text())
            expect(n != 0, f"{file} has nothing of later versions to take away")
            (old / file).write_text(text)
        installed = shop.build(old, include=OLD)
        load(lab, plugin(installed, "line-echo"))
        exercise_transport(lab, installed, "line-echo", has_messages=False)
        abi = re.search(r"kPluginAbi = 1u << 16 \| (\d+)", (OLD / "hostloom/plugin.h").read_text())
        expect(abi and abi[1] == "0", "these are not the headers of 1.0")


# --- Refusals -------------------------------------------------------------------------------------------------------

def bad_plugins():
    """Each is refused with a reason, and the daemon goes on."""
    with Workshop() as shop, Lab() as lab:
        installed = shop.build(HERE / "plugins")
        unresolved = shop.dir / "plugins/build/unresolved.so"
        whole = plugin(installed, "answers").read_bytes()
        (shop.dir / "text.so").write_text("this is no shared object\n" * 100)
        (shop.dir / "cut.so").write_bytes(whole[:len(whole) // 3])
        (shop.dir / "empty.so").write_bytes(b"")
        library = shop.dir / "library.so"
        run([outsider.CC, "-shared", "-fPIC", "-x", "c", "/dev/null", "-o", library])
        for file, reason in ((shop.dir / "text.so", "no ELF header"), (shop.dir / "empty.so", "no ELF header"),
                             (shop.dir / "cut.so", "cut off"), (shop.dir, "not a regular file"),
                             (shop.dir / "nowhere.so", "No such file"), (library, "does not export 'hostloom_plugin'"),
                             (unresolved, "undefined symbol"),
                             (plugin(installed, "throws"), "init threw an exception: the disk is made of cheese")):
            try:
                lab.cli("plugin", "load", str(file))
                raise Failure(f"{file} was loaded")
            except Failure as refused:
                expect(reason in str(refused) and str(file) in str(refused), f"{file}: {refused}")
            expect(f"{file} refused: it " in (lab.dir / "hostloom.log").read_text(), f"{file}: no line in the log")
        load(lab, plugin(installed, "answers"))
        for words, text in ((["answers", "bad"], "threw an exception: no answer"),
                            (["throws"], "belongs to plugin 'throws', which was refused"),
                            (["plugin", "load", str(plugin(installed, "answers"))], "was loaded before and is running")):
            try:
                lab.cli(*words)
                raise Failure(f"{words} succeeded")
            except Failure as refused:
                expect(text in str(refused), str(refused))
        expect(lab.cli("answers", "good").strip() == "42", "a plugin in order does not work")
        lab.run(["ping", "-c", "1", STACK_IP4])


# --- Documentation --------------------------------------------------------------------------------------------------

def docs():
    """Every command of docs/plugins.md, in order, as it stands there."""
    text = (HERE.parents[1] / "docs/plugins.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    expect(len(blocks) >= 4, "docs/plugins.md has lost its commands")
    with Workshop() as shop:
        prefix = shop.dir / "prefix"
        run(["cp", "-a", PREFIX, prefix])  # what the reader installs stays out of other tests
        with laboratory.Lab(build=prefix) as lab:
            follow(lab, shop.dir, prefix, text, blocks)


def follow(lab, folder, prefix, text, blocks):
    # Where the reader's daemon is.
    env = dict(os.environ, PREFIX=str(prefix), PATH=f"{prefix}/bin:{os.environ['PATH']}", CXX=CXX,
               VCL_CONFIG=str(lab.dir / "vcl.conf"))
    script = f"set -eu\nloomctl() {{ command loomctl -s {lab.dir}/run/api.sock \"$@\"; }}\n" + "\n".join(blocks)
    said = re.sub(r"\s+", " ", run(["bash", "-c", script], cwd=folder, env=env))
    for expected in re.findall(r"^```text\n(.*?)^```$", text, re.M | re.S):
        for line in expected.splitlines():
            expect(re.sub(r"\s+", " ", line).strip() in said, f"nothing said '{line}':\n{said}")


if __name__ == "__main__":
    laboratory.enter()
    if len(sys.argv) != 2 or not callable(globals().get(sys.argv[1])):
        sys.exit(__doc__)
    try:
        globals()[sys.argv[1]]()
    except Failure as failure:
        sys.exit(f"{sys.argv[1]}: {failure}")
