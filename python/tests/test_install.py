#!/usr/bin/python3
"""`pip install ./python` and `cmake --install --component python`: both give a package that works, with its stubs."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
BUILD = pathlib.Path(os.environ["HOSTLOOM_BUILD"])


class Install(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="hostloom-install-")))

    def run_ok(self, command, **kw):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **kw)
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-3000:])
        return done.stdout

    def check(self, packages):
        package = packages / "hostloom"
        for name in ("py.typed", "_messages.pyi", "_core.pyi", "__init__.py"):
            self.assertTrue((package / name).is_file(), f"{name} is not in {sorted(os.listdir(package))}")
        self.assertIn("def show_version(", (package / "_messages.pyi").read_text())
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        where = self.run_ok([sys.executable, "-P", "-c", "import hostloom, hostloom._core as c; print(c.__file__)"],
                            env=dict(env, PYTHONPATH=str(packages)), cwd=self.dir)
        self.assertTrue(where.startswith(str(packages)), where)
        self.run_ok([sys.executable, "-P", HERE / "test_package.py", "Requests", "Values"],
                    env=dict(env, PYTHONPATH=f"{packages}:{HERE}"), cwd=self.dir)

    def test_pip(self):
        # A copy of what it needs, so that the tree stays clean and nothing else is leaned on.
        for part in ("python", "api", "sdk"):
            shutil.copytree(TOP / part, self.dir / "tree" / part, ignore=shutil.ignore_patterns("build", "*.egg-info"))
        env = dict(os.environ, HOSTLOOM_BUILD_JOBS="2", CFLAGS="-O0 -g0")  # compiling takes most of the time
        if shutil.which("ccache"):
            env.update(CC="ccache x86_64-linux-gnu-gcc", CCACHE_BASEDIR=str(self.dir), CCACHE_NOHASHDIR="1")
        self.run_ok([sys.executable, "-m", "pip", "install", "--no-index", "--no-build-isolation", "--no-deps",
                     "--target", self.dir / "packages", self.dir / "tree/python"], env=env)
        self.check(self.dir / "packages")

    def test_cmake(self):
        self.run_ok(["cmake", "--install", BUILD, "--prefix", self.dir / "prefix", "--component", "python"])
        found = list((self.dir / "prefix").rglob("hostloom/_core*.so"))
        self.assertEqual(len(found), 1, found)
        self.check(found[0].parents[1])


if __name__ == "__main__":
    unittest.main()
