#!/usr/bin/env python3
"""What plugins write that several workers may share: every atomic read-modify-write, and every write to a variable of the
program itself (a global, a static). Workers meet none of that for each packet; each place that has one is listed here
with the reason why it may, and one that is not listed is an error.

Found in the machine code, whatever headers and templates it comes from: instructions with a lock prefix, exchanges with
memory, and writes to the address of a variable. A place is the innermost function of our own that was inlined there, so
that it does not matter what a compiler inlines of it. What is written without being atomic through a pointer, or into an
array at an index, is not seen here: tests/bench/shared_lines is for that.

usage: shared_writes.py PLUGINS_DIRECTORY | --self-test
"""

import pathlib
import re
import subprocess
import sys

SETUP = "while the plugin starts or its first use makes it, once"
CONTROL = "the control thread's"
LIFE = "once a connection, a handshake or a listener"
# Places, as regular expressions that match all of `file function`, and why they may.
ALLOWED = (
    (r"plugins/[\w-]+/plugin\.cc init", SETUP),
    (r"plugins/[\w-]+/\w+\.(cc|h) (add_statistics|init|start|Shared|Config|Transport|SipKey|SourceAddresses)", SETUP),
    (r"sdk/include/hostloom/siphash\.h SipKey", SETUP),
    (r"- std::.*|- void std::.*|- __gnu_cxx::.*", "a shared_ptr is let go of: the places that take one are listed"),
    (r"sdk/include/hostloom/status\.h destroy", "a shared_ptr of a Result: likewise"),
    (r"sdk/include/hostloom/page_keeper\.h \w+", "memory for many slots comes from and goes to the control thread"),
    (r"plugins/(tap|af-packet)/tx\.cc count", "packets that the kernel refuses"),
    (r"plugins/dpdk/tx\.cc (count|undo)", "packets that the device refuses"),
    (r"- rte_pktmbuf_(detach|free)", "DPDK's own, where the compiler gives it a place: mbufs that plugins/dpdk/tx.cc undoes"),
    (r"plugins/dpdk/(admission|api|cli|eal|eal_log|interrupt_thread|mempool|memif_guard|config|devices|making|calls|call_thread|peer_listener|peer_socket|tap_host|vhost_guard|port|rss|plugin)\.(cc|h) .*", CONTROL),
    (r"plugins/dpdk/burst_gate\.h enter", "a burst of net_memif, on a line of the worker's own"),
    (r"plugins/dpdk/burst_gate\.h close", "EAL's interrupt thread, when a peer of net_memif says something"),
    (r"plugins/memif/device\.cc (add|fail)", "packets that are dropped or kept, and faults: not with 0 of them"),
    (r"plugins/memif/device\.cc RingLock", "with fewer rings than workers; otherwise no lock is taken"),
    (r"plugins/memif/copy_sum\.cc _GLOBAL__sub_I_.*", "once, when the plugin is loaded: what the processor can do"),
    (r"plugins/memif/backlog\.(cc|h) (take|give)", "packets for a peer whose ring is full"),
    (r"plugins/memif/memif_link\.cc (send|set_masked)", "the ring's flags and cursors, between the two peers of a link"),
    (r"plugins/memif/(links\.cc attach|bell\.cc spare_contexts)", LIFE),
    (r"plugins/pg/capture\.cc add", "while packets are captured: a tool of tests, one file for all workers"),
    (r"plugins/udp/groups\.cc note_(un)?bound", "once a socket"),
    (r"plugins/udp/local_ports\.(h|cc) \w+", "once a socket"),
    (r"plugins/tcp/cli\.cc operator", SETUP),
    (r"plugins/perf/pattern\.cc pattern", SETUP),
    (r"plugins/perf/(api|cli|cli_client|client|held|perf)\.(cc|h) .*", "once a command, and once a worker when its part is over"),
    (r"plugins/http-static/(cache|file|server)\.(cc|h) .*", CONTROL),
    (r"plugins/http-static/lookup\.cc .*", "a request for what the worker's own shelf does not have goes to the control thread"),
    (r"plugins/tls/(client_settings|connection|context|dtls|tls|common)\.(cc|h) .*", LIFE),
    (r"plugins/tls/(handover|dtls_handover|dtls_listen|dtls_transport|listen|lower|pem|retired|tickets|transport)\.(cc|h) .*", LIFE),
    (r"plugins/tls/(api|cli|reload)\.cc .*", CONTROL),
    (r"plugins/tls/gcm_provider\.cc (algorithms|table|find_functions|(add|use)_fast_gcm)", SETUP),
    (r"plugins/tls/(reload|trust)\.h ~(Attempt|StoreReader)", CONTROL),  # the last one that has read the files
    (r"plugins/tls/early_sessions\.cc (context|session)_index", SETUP),
    (r"plugins/tls/(bio|dtls_bio)\.cc (attach_bio|attach_wire|control)", LIFE),
)

LOCKED = re.compile(r"(lock \w+|xchg\s.*\()")
# The last operand is what an instruction writes, in this syntax; these only read it, or go there.
READS = re.compile(r"(v?u?comis|cmp|v?p?test|bt[lqw ]|lea|call|jmp|push|nop|prefetch|fld|ldmxcsr|i?div|i?mul|bnd)")
WRITES = re.compile(r"\w+\s[^#]*\(%rip\)\s+# [0-9a-f]+ <(.*)>$")
RUNTIME = ("completed.0", "__cpu_model")  # of the compiler's start-up code


def places_in(lines):
    """(address, what) of each instruction in question of a disassembly: what is "locked" or the variable's name."""
    for line in lines:
        m = re.match(r"\s+([0-9a-f]+):\t(.*)$", line)
        if not m:
            continue
        instruction = m[2]
        if LOCKED.match(instruction):
            yield int(m[1], 16), "locked"
        elif (w := WRITES.match(instruction)) and instruction.partition("#")[0].rstrip().endswith("(%rip)") \
                and not READS.match(instruction) and w[1].split("+")[0] not in RUNTIME:
            yield int(m[1], 16), re.sub(r"\+0x[0-9a-f]+$", "", w[1])


def chains_in(lines):
    """By address: (function, file) from the innermost inlined one outwards, as addr2line -a -i -f says."""
    chains, current = {}, None
    lines = iter(lines)
    for line in lines:
        if line.startswith("0x"):
            current = chains.setdefault(int(line, 16), [])
        else:
            current.append((line, next(lines).rpartition(":")[0]))
    return chains


def bare(function):
    """Its name without namespaces, arguments and templates."""
    depth, out = 0, ""
    for c in re.sub(r"\[abi:\w+\]", "", function):
        depth += (c in "<(") - (c in ">)")
        if depth == 0 and c not in ">)":
            out += c
    return re.sub(r" const$", "", out).rpartition("::")[2].strip() or function


def place(chain):
    for function, file in chain:
        if m := re.search(r"(?:^|/)((?:plugins|sdk)/[^:]*)$", file):
            return f"{m[1]} {bare(function)}"
    return "- " + (chain[-1][0] if chain else "?")


def tool(*command, **kw):
    return subprocess.run(command, capture_output=True, text=True, check=True, **kw).stdout.splitlines()


def breaches(named):
    """Lines for what is not allowed of [(place, what)]."""
    return sorted({f"{where}: {what}" for where, what in named
                   if not any(re.fullmatch(pattern, where) for pattern, _ in ALLOWED)})


def check(library):
    found = dict(places_in(tool("objdump", "-d", "-C", "--no-show-raw-insn", str(library))))
    chains = chains_in(tool("addr2line", "-a", "-i", "-f", "-C", "-e", str(library), input="\n".join(map(hex, found))))
    return breaches([(place(chains[a]), what) for a, what in found.items()])


def self_test():
    code = """
    1000:\tlock xadd %rax,0x10(%rdi)
    1004:\txchg   %al,(%rdx)
    1008:\txchg   %ax,%ax
    100c:\tmov    %rax,0x2f1(%rip)        # 1300 <loom::x::total+0x8>
    1010:\tmov    0x2f1(%rip),%rax        # 1300 <loom::x::total>
    1014:\tcmpl   $0x0,0x2f1(%rip)        # 1300 <loom::x::total>
    1018:\taddq   $0x1,0x2f1(%rip)        # 1310 <loom::x::count>
    101c:\tmovb   $0x1,0x2f1(%rip)        # 1310 <completed.0>
    1020:\tcall   *0x2f1(%rip)        # 1310 <strlen@plt>
    """.splitlines()
    assert list(places_in(code)) == [(0x1000, "locked"), (0x1004, "locked"), (0x100C, "loom::x::total"),
                                     (0x1018, "loom::x::count")], list(places_in(code))
    lines = ["0x0000000000001000", "std::atomic<int>::fetch_add(int, std::memory_order)", "/usr/include/c++/12/atomic:3",
             "loom::tcp::(anonymous namespace)::deliver(loom::Worker&) const", "../../plugins/tcp/rx.cc:20",
             "loom::tcp::input(loom::Worker&)", "/a/b/plugins/tcp/input.cc:9", "0x0000000000001004", "??", "??:0"]
    chains = chains_in(lines)
    assert place(chains[0x1000]) == "plugins/tcp/rx.cc deliver", place(chains[0x1000])
    assert place(chains[0x1004]) == "- ??"
    assert place([("void loom::Pool<loom::A<1> >::give_back()", "/x/sdk/include/hostloom/slots.h")]) == \
        "sdk/include/hostloom/slots.h give_back"
    named = [("plugins/tcp/rx.cc deliver", "locked"), ("plugins/tap/tx.cc count", "locked")]
    assert breaches(named) == ["plugins/tcp/rx.cc deliver: locked"]
    print("shared_writes: finds what it should")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    libraries = sorted(pathlib.Path(sys.argv[1]).glob("*.so"))
    if not libraries:
        sys.exit(f"shared_writes: no plugins in {sys.argv[1]}")
    bad = [f"{library.name}: {line}" for library in libraries for line in check(library)]
    for line in bad:
        print(line)
    if bad:
        sys.exit("shared_writes: not listed. Give each worker its own, or say in ALLOWED why packets do not meet it.")
    print(f"shared_writes: {len(libraries)} plugins, nothing that is not listed")


if __name__ == "__main__":
    main()
