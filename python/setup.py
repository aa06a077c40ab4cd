"""Builds hostloom._core from this folder and the tree's sdk/, and the stubs of the tree's messages. See README.md."""

import pathlib
import subprocess
import sys

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent
# The messages that the client itself speaks; all others come from the daemon's description.
CLIENT_API = ["memclnt", "vlib"]


class Build(build_ext):
    def build_extension(self, extension):
        generated = pathlib.Path(self.build_temp).resolve() / "api"
        generated.mkdir(parents=True, exist_ok=True)
        for name in CLIENT_API:
            subprocess.run([sys.executable, str(TOP / "api/apigen"), "--out", str(generated),
                            str(TOP / f"api/{name}.api.json")], check=True)
            extension.sources.append(str(generated / f"{name}.api.cc"))
        # Here, since setup() takes no paths that lead out of its folder. The sources of one are compiled at once: the
        # headers of Asio and JSON, which each of them reads, take longer than all else.
        for part in (HERE / "src", TOP / "sdk/client", TOP / "sdk/stats"):
            whole = generated / f"all_of_{part.name}.cc"
            whole.write_text("".join(f'#include "{path}"\n' for path in sorted(part.glob("*.cc"))))
            extension.sources.append(str(whole))
        extension.include_dirs.append(str(generated))
        super().build_extension(extension)
        self.write_stubs(pathlib.Path(self.get_ext_fullpath(extension.name)).resolve())

    def write_stubs(self, built):
        """With the extension that was just built, from where it was built."""
        target = built.parent / "_messages.pyi"
        folders = [str(TOP / "api"), str(TOP / "plugins")]
        folders = [f for f in folders if any(pathlib.Path(f).rglob("*.api.json"))]
        program = ("import importlib.util as u, sys; here, built = sys.argv[1:3]; del sys.argv[1:3]\n"
                   "sys.path.insert(0, here); spec = u.spec_from_file_location('hostloom._core', built)\n"
                   "core = sys.modules['hostloom._core'] = u.module_from_spec(spec); spec.loader.exec_module(core)\n"
                   "from hostloom.stubs import main; sys.exit(main())")
        subprocess.run([sys.executable, "-c", program, str(HERE), str(built), "--out", str(target), *folders], check=True)


ParallelCompile("HOSTLOOM_BUILD_JOBS").install()
setup(
    ext_modules=[Pybind11Extension("hostloom._core", [], cxx_std=20,  # Build adds the sources
                                   include_dirs=[str(HERE / "src"), str(TOP / "sdk"), str(TOP / "sdk/include")])],
    cmdclass={"build_ext": Build},
)
