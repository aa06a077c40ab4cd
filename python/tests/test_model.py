#!/usr/bin/python3
"""Names of enumerators, and stubs of the tree's own messages."""

import ast
import pathlib
import unittest

from hostloom import _core, errors
from hostloom.model import Model, short_names
from hostloom.stats import Combined, Counters
from hostloom.stubs import generate

TOP = pathlib.Path(__file__).resolve().parents[2]


class Names(unittest.TestCase):
    def test_what_all_begin_with_is_left_out(self):
        for names, short in (
                (["IF_STATUS_API_FLAG_ADMIN_UP", "IF_STATUS_API_FLAG_LINK_UP"], ["ADMIN_UP", "LINK_UP"]),
                (["ADDRESS_IP4", "ADDRESS_IP6"], ["IP4", "IP6"]),
                (["A_1", "A_2"], ["A_1", "A_2"]),          # digits do not begin a name
                (["A_IF", "A_ELSE"], ["IF", "ELSE"]),
                (["UP", "LINK"], ["UP", "LINK"]),
                (["ONLY_ONE"], ["ONLY_ONE"]),
                (["X", "X_Y"], ["X", "X_Y"])):
            self.assertEqual(short_names(names), short)


class Stubs(unittest.TestCase):
    def test_they_are_python_and_say_what_the_functions_say(self):
        description = _core.describe_files([str(TOP / "api")])
        tree = ast.parse(generate(description))
        classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
        api = {f.name: f for f in classes["Api"].body}
        self.assertEqual(ast.unparse(api["show_version"].returns), "ShowVersionReply")
        self.assertEqual(ast.unparse(api["log_dump"].returns), "list[LogDetails]")
        self.assertEqual([a.arg for a in api["log_dump"].args.kwonlyargs], ["start_timestamp", "_timeout"])
        self.assertIsInstance(classes["AioApi"].body[0], ast.AsyncFunctionDef)
        self.assertIn("LogLevel", classes)
        self.assertEqual({f.name for f in classes["Api"].body}, set(api))
        self.assertNotIn("sockclnt_create", api)

    def test_files_that_are_wrong_are_named(self):
        with self.assertRaisesRegex(errors.UnsupportedError, "/tmp/hostloom-none.api.json: cannot be read"):
            _core.describe_files(["/tmp/hostloom-none.api.json"])


class Descriptions(unittest.TestCase):
    def test_a_type_that_is_used_under_two_names(self):
        model = Model(_core.describe_files([str(TOP / "tests/unit/sdk/client/shapes.api.json")]))
        self.assertEqual(model.kind("prefix").annotation, "ipaddress.IPv4Network | ipaddress.IPv6Network")
        self.assertEqual(model.kind("address_with_prefix").annotation,
                         "ipaddress.IPv4Interface | ipaddress.IPv6Interface")
        self.assertEqual(model.kind("interface_index").annotation, "int")


class Sums(unittest.TestCase):
    def test_over_workers_and_indexes(self):
        packets = Counters([[1, 2, 3], [10, 20]])
        self.assertEqual((packets.sum(), packets.sum(0), packets.sum(2), packets.sum(9)), (36, 11, 3, 0))
        both = Counters([[Combined(1, 100), Combined(2, 200)], [Combined(3, 300)]], Combined(0, 0))
        self.assertEqual((both.sum(), both.sum(0), both.sum(9)), (Combined(6, 600), Combined(4, 400), Combined(0, 0)))


if __name__ == "__main__":
    unittest.main()
