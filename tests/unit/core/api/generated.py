"""Runs the generator for its tests, in this process: there are many runs."""
import contextlib
import glob
import importlib.machinery
import importlib.util
import io
import sys

SOURCE = sys.argv.pop(1)  # the tree
_loader = importlib.machinery.SourceFileLoader("apigen", SOURCE + "/api/apigen")
_apigen = importlib.util.module_from_spec(importlib.util.spec_from_loader("apigen", _loader))
_loader.exec_module(_apigen)


def files_of_the_tree():
    return sorted(glob.glob(SOURCE + "/api/*.api.json")) + sorted(glob.glob(SOURCE + "/plugins/*/*.api.json"))


def apigen(*args):
    """(exit status, what it complained of)"""
    with contextlib.redirect_stderr(io.StringIO()) as complaint:
        code = _apigen.main(["--include", SOURCE + "/api", *args])
    return code, complaint.getvalue()
