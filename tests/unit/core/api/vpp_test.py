"""A message that has a name of VPP's is VPP's: fields, the types that they use, CRC, service.

vpp_layouts.json has the facts. Comments are ours, and so are the values that a field has by default when VPP's has none.
"""
import json
import os
import tempfile
import unittest

from generated import SOURCE, apigen, files_of_the_tree

with open(os.path.join(os.path.dirname(__file__), "vpp_layouts.json"), encoding="utf-8") as f:
    VPP = json.load(f)


def layout(items):
    """Fields without what does not change the bytes."""
    return [[x for x in item if not isinstance(x, dict)] for item in items if isinstance(item, list)]


class SameAsVpp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.messages, cls.types, cls.services = {}, {}, {}
        with tempfile.TemporaryDirectory() as folder:
            code, why = apigen("--json", folder, *files_of_the_tree())
            assert code == 0, why
            for name in os.listdir(folder):
                with open(os.path.join(folder, name), encoding="utf-8") as f:
                    data = json.load(f)
                cls.messages |= {m[0]: m[1:] for m in data["messages"]}
                cls.services |= data["services"]
                for key, kind in (("types", "type"), ("unions", "union"), ("enums", "enum"), ("enumflags", "enumflag")):
                    cls.types |= {f"vl_api_{t[0]}_t": (kind, t[1:]) for t in data[key]}
                cls.types |= {f"vl_api_{n}_t": ("alias", d) for n, d in data["aliases"].items()}

    def same_type(self, name, seen):
        if not name.startswith("vl_api_") or name in seen:
            return
        seen.add(name)
        kind, ours = self.types[name]
        self.assertIn(name, VPP["types"], "a type that VPP's messages do not use")
        theirs = VPP["types"][name]
        self.assertEqual(kind, theirs["kind"], name)
        if kind == "alias":
            self.assertEqual(ours, theirs["def"], name)
            return self.same_type(ours["type"], seen)
        if kind in ("enum", "enumflag"):
            self.assertEqual(ours, theirs["def"], name)
            return None
        self.assertEqual(layout(ours), layout(theirs["def"]), name)
        for item in layout(ours):
            self.same_type(item[0], seen)

    def test_messages(self):
        both = [name for name in self.messages if name in VPP["messages"]]
        self.assertGreater(len(both), 20)
        for name in both:
            with self.subTest(message=name):
                ours, theirs = self.messages[name], VPP["messages"][name]
                self.assertEqual(layout(ours), layout(theirs))
                self.assertEqual(ours[-1]["crc"], theirs[-1]["crc"])
                for item in layout(ours):
                    self.same_type(item[0], set())

    def test_services(self):
        for name, service in self.services.items():
            if name in VPP["services"]:
                self.assertEqual(service, VPP["services"][name], name)

    def test_no_message_of_ours_carries_vpps_crc_by_chance(self):
        for name, items in self.messages.items():
            if name not in VPP["messages"]:
                theirs = {m[-1]["crc"] for m in VPP["messages"].values()}
                self.assertNotIn(items[-1]["crc"], theirs, name)


if __name__ == "__main__":
    unittest.main()
