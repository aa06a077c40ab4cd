#!/usr/bin/python3
"""What a type checker makes of the package: mypy over the package itself, the examples, and a program with mistakes."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

PACKAGES = pathlib.Path(os.environ["HOSTLOOM_BUILD"]) / "python"
HERE = pathlib.Path(__file__).resolve().parent

MISTAKES = '''
import hostloom

with hostloom.connect() as h:
    version: str = h.api.show_version().version
    wrong: int = h.api.show_version().version          # wrong type of a result
    h.api.show_version().versoin                       # no such field
    h.api.log_dump(start_timestamp="now")              # wrong type of an argument
    h.api.log_dump(start=1.0)                          # no such argument
    h.api.sho_version()                                # no such request
    level: int = h.api.log_dump()[0].level             # an enumeration is a number
    h.types.LogLevel.ERR
    if "memo_set" in h.api and "memo" in h.events:
        h.api["memo_set"](index=1, text="of a plugin that nobody knows here")
    h.types.LogLevel.ERROR                             # no such enumerator


async def main() -> None:
    async with hostloom.aio.connect() as a:
        good: str = (await a.api.show_version()).version
        a.api.show_version().version                   # not awaited
'''


def mypy(*files):
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(["/usr/bin/mypy", "--cache-dir", cache, "--python-executable", sys.executable,
                               "--no-error-summary", *map(str, files)], capture_output=True, text=True,
                              env=dict(os.environ, MYPYPATH=str(PACKAGES)))
    return done.stdout + done.stderr


class Types(unittest.TestCase):
    def test_the_package_and_its_examples(self):
        examples = sorted((HERE.parent / "examples").glob("*.py"))
        self.assertTrue(examples)
        self.assertEqual(mypy("-p", "hostloom"), "")
        for example in examples:
            self.assertEqual(mypy("--check-untyped-defs", example), "")

    def test_mistakes_are_found_and_nothing_else(self):
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder) / "program.py"
            program.write_text(MISTAKES)
            found = {int(n) for n in re.findall(r"program\.py:(\d+): error", mypy(program))}
        wanted = {n for n, line in enumerate(MISTAKES.splitlines(), 1)
                  if "#" in line and "is a number" not in line}
        self.assertEqual(found, wanted)


if __name__ == "__main__":
    unittest.main()
