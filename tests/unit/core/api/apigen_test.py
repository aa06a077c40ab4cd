"""apigen refuses every malformed file with the file's, the message's and the field's name."""
import json
import os
import tempfile
import unittest

from generated import apigen

ID = ["u16", "_vl_msg_id"]


def message(*fields, name="m", **options):
    return {"messages": [[name, ID, *fields, {"crc": "0x00000001", **options}]]}


class Refusals(unittest.TestCase):
    def run_on(self, content, name="x"):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, name + ".api.json")
            with open(path, "w", encoding="utf-8") as f:
                f.write(content if isinstance(content, str) else json.dumps(content))
            code, err = apigen("--out", folder, path)
            return code, err.replace(folder + "/", ""), sorted(os.listdir(folder))

    def refuse(self, content, *parts):
        code, err, files = self.run_on(content)
        self.assertEqual(code, 1, err)
        self.assertEqual(files, ["x.api.json"])
        self.assertTrue(err.startswith("apigen: "), err)
        for part in parts:
            self.assertIn(part, err)

    def test_good_file(self):
        code, err, files = self.run_on(message(["u32", "context"], ["u8", "n"], ["u16", "list", 0, "n"]))
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(files, ["x.api.cc", "x.api.h", "x.api.json"])

    def test_crc_is_stable_and_depends_on_the_types_used(self):
        def crc(inner):
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "x.api.json")
                with open(path, "w", encoding="utf-8") as f:
                    json.dump({"types": [["t", [inner, "a"]]], "messages": [["m", ID, ["vl_api_t_t", "f"]]]}, f)
                apigen("--out", folder, path)
                with open(os.path.join(folder, "x.api.h"), encoding="utf-8") as f:
                    return f.read().split('kInfo{"m", ')[1][:10]
        self.assertEqual(crc("u32"), crc("u32"))
        self.assertNotEqual(crc("u32"), crc("i32"))

    def test_secrets_change_no_crc_and_are_not_described(self):
        def made(marks, **options):
            fields = [["u32", "client_index"], ["u32", "context"], ["u16", "a"], ["u8", "n"],
                      ["u8", "key", 0, "n", *marks], ["string", "s", 0]]
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "x.api.json")
                with open(path, "w", encoding="utf-8") as f:
                    json.dump({"messages": [["m", ID, *fields, {"comment": "", **options}]]}, f)
                apigen("--out", folder, path)
                with open(os.path.join(folder, "x.api.h"), encoding="utf-8") as f:
                    header = f.read()
                with open(os.path.join(folder, "x.api.cc"), encoding="utf-8") as f:
                    return header, f.read().split("kXModule{")[1]
        plain, secret, all_of_it = made([]), made([{"secret": True}]), made([], secret=True)
        self.assertEqual(plain[1], secret[1])
        self.assertEqual(plain[1], all_of_it[1])
        self.assertNotIn("kSecret", plain[0])
        self.assertIn("ApiSecret kSecret{11, ~0u};", secret[0])
        self.assertIn("ApiSecret kSecret{8, ~0u};", all_of_it[0])

    def test_secrets_that_cannot_be(self):
        secret = {"secret": True}
        self.refuse(message(["u8", "a", {"secret": 1}]), "message m, field a: secret 1 is not true")
        self.refuse(message(["u8", "a"], secret=False), "message m: secret false is not true")
        self.refuse(message(["u32", "context", secret]), "message m, field context: cannot be secret")
        self.refuse(message(["u8", "n", secret], ["u8", "a", 0, "n"]), "message m, field n: cannot be secret")
        self.refuse(message(["string", "a", 0], ["u8", "b", secret]),
                    "message m, field b: a secret comes before what varies in length")
        self.refuse({"types": [["t", ["u8", "a", secret]]], "messages": []},
                    "type t, field a: only a message or one of its fields is secret")

    def test_not_json(self):
        self.refuse("{", "not JSON")
        self.refuse("[]", "not a JSON object")

    def test_unknown_top_level_key(self):
        self.refuse({"mesages": []}, "unknown key 'mesages'")

    def test_unknown_type(self):
        self.refuse(message(["u33", "context"]), "message m, field context: unknown type 'u33'")
        self.refuse(message(["vl_api_none_t", "a"]), "message m, field a: unknown type 'vl_api_none_t'")

    def test_count_field(self):
        self.refuse(message(["u8", "list", 0, "n"]), "message m, field list: count field 'n'")
        self.refuse(message(["u8", "list", 0, "n"], ["u32", "n"]), "field list: count field 'n'")
        self.refuse(message(["i32", "n"], ["u8", "list", 0, "n"]), "field list: count field 'n'")
        self.refuse(message(["u8", "n"], ["u8", "a", 0, "n"], ["u8", "b", 0, "n"]), "field b: count field 'n'")

    def test_names(self):
        self.refuse(message(["u8", "a-b"]), "message m, field a-b: not a name")
        self.refuse(message(["u8", "a"], ["u8", "a"]), "message m, field a: named twice")
        self.refuse({"messages": [["m", ID], ["m", ID]]}, "message m: defined twice")

    def test_shape(self):
        self.refuse(message(["u8"]), "message m: [\"u8\"] is not [type, field, ...]")
        self.refuse(message(["u8", "a", -1]), "message m, field a: length")
        self.refuse({"messages": [["m", ["u32", "context"]]]}, "message m, field _vl_msg_id: must come first")
        self.refuse({"messages": [["m", ID, {"crc": "12"}]]}, "message m: crc")

    def test_types(self):
        self.refuse({"enums": [["e", ["A", "x"], {"enumtype": "u8"}]]}, "enum e: [\"A\", \"x\"]")
        self.refuse({"enums": [["e", ["A", 1], {"enumtype": "f64"}]]}, "enum e: enumtype")
        self.refuse({"types": [["a", ["vl_api_b_t", "x"]], ["b", ["vl_api_a_t", "y"]]]}, "circle")
        self.refuse({"types": [["a", ["u9", "x"]]]}, "type a, field x: unknown type 'u9'")

    def test_kinds_of_top_level_values(self):
        self.refuse({"messages": {}}, "x.api.json: messages is not an array")
        self.refuse({"services": []}, "x.api.json: services is not an object")
        self.refuse({"messages": ["m"]}, 'message "m": not a list that starts with a name')
        self.refuse({"options": {"version": "1"}}, "options: version '1' is not x.y.z")
        self.refuse('{"types": [], "types": []}', "key 'types' is there twice")

    def test_enumerators(self):
        self.refuse({"enums": [["e", ["A", 256], {"enumtype": "u8"}]]}, "enum e, field A: 256 is not within u8")
        self.refuse({"enums": [["e", ["a", 1], {"enumtype": "u8"}]]}, "enum e, field a: not a name of capital")
        self.refuse({"enums": [["e", ["A", 1], {"enumtype": "u8"}], ["f", ["A", 1], {"enumtype": "u8"}]]},
                    "enum f, field A: is in enum e already")
        self.refuse({"enumflags": [["e", ["A", 1]]]}, 'enumflag e: does not end with {"enumtype": ...}')
        self.refuse({"enums": [["e", {"enumtype": "u8"}]]}, "enum e: has no enumerators")

    def test_aliases_and_unions(self):
        self.refuse({"aliases": {"a": "u8"}}, 'alias a: not {"type": ...}')
        self.refuse({"aliases": {"a": {"type": "u8", "length": -1}}}, "alias a: length -1")
        self.refuse({"aliases": {"a": {"type": "u9"}}}, "alias a: unknown type 'u9'")
        self.refuse({"unions": [["u", ["string", "s", 0]]]}, "union u, field s: a member of a union has a fixed length")
        self.refuse({"unions": [["u"]]}, "union u: has no members")
        self.refuse({"types": [["t"]]}, "type t: has no fields")
        self.refuse({"types": [["t", ["u8", "a"]], ["t", ["u8", "a"]]]}, "type t: defined twice")

    def test_strings_and_defaults(self):
        self.refuse(message(["string", "s"]), "message m, field s: a string has a length")
        self.refuse(message(["u8", "n"], ["string", "s", 0, "n"]), "message m, field s: a string has no count field")
        self.refuse(message(["u8", "a", {"default": "x"}]), 'message m, field a: default "x"')
        self.refuse(message(["u8", "a", 3, "n"]), "message m, field a: length")

    def test_messages(self):
        self.refuse(message(name="a" * 60), "longer than 54 characters")
        self.refuse(message(comment=3), "message m: comment is not a string")
        self.refuse(message(color="red"), "message m: unknown key 'color'")

    def test_services(self):
        head = [ID, ["u32", "client_index"], ["u32", "context"]]
        both = {"messages": [["m", *head], ["r", ID, ["u32", "context"]], ["bad", ID, ["u32", "other"]]]}
        self.assertEqual(self.run_on(both | {"services": {"m": {"reply": "r"}}})[:2], (0, ""))
        for service, why in (({"reply": "none"}, "service m: unknown message 'none'"),
                             ({"reply": "bad"}, "message bad, field context: must be there as u32"),
                             ({"reply": "r", "events": ["bad"]}, "message bad, field client_index: must be there"),
                             ({"reply": "r", "stream_msg": "none"}, "service m: unknown message 'none'"),
                             ({"reply": "r", "colour": 1}, "service m: unknown key 'colour'"),
                             ({}, "service m: has no reply")):
            self.refuse(both | {"services": {"m": service}}, why)
        self.refuse({"messages": [["m", ID]], "services": {"m": {"reply": "m"}}},
                    "message m, field client_index: must be there as u32, right behind the id (service m)")

    def test_imports(self):
        self.refuse({"imports": ["none.api.json"]} | message(), "imports: 'none.api.json' is in none of")
        self.refuse({"imports": [3]} | message(), "imports: 3 is not a file's name")
        self.refuse({"imports": ["x.api.json"]} | message(), "imports: x.api.json -> x.api.json")

    def test_a_mistake_in_an_imported_file_is_that_files(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in (("a", {"imports": ["b.api.json"]}), ("b", {"types": [["t", ["u9", "x"]]]})):
                with open(os.path.join(folder, name + ".api.json"), "w", encoding="utf-8") as f:
                    json.dump(content, f)
            code, err = apigen("--out", folder, os.path.join(folder, "a.api.json"))
        self.assertEqual(code, 1)
        self.assertIn("b.api.json: type t, field x: unknown type 'u9'", err)

    def test_the_description_has_vpps_shape(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.api.json")
            with open(path, "w", encoding="utf-8") as f:
                json.dump({"types": [["t", ["u8", "a"], {"comment": "T."}]],
                           "messages": [["m", ID, ["vl_api_t_t", "t"], {"comment": "M."}]]}, f)
            self.assertEqual(apigen("--json", folder + "/j", path), (0, ""))
            with open(folder + "/j/x.api.json", encoding="utf-8") as f:
                data = json.load(f)
        self.assertEqual(list(data), ["types", "messages", "unions", "enums", "enumflags", "services", "options",
                                      "aliases", "vl_api_version", "imports", "counters", "paths"])
        self.assertEqual(data["types"], [["t", ["u8", "a"]]])
        self.assertEqual(data["messages"][0][:3], ["m", ID, ["vl_api_t_t", "t"]])
        self.assertEqual(data["messages"][0][3] | {"crc": ""}, {"crc": "", "options": {}, "comment": "M."})
        self.assertRegex(data["messages"][0][3]["crc"], "^0x[0-9a-f]{8}$")
        self.assertRegex(data["vl_api_version"], "^0x[0-9a-f]{8}$")
        self.assertEqual(data["options"]["version"], "0.0.0")


if __name__ == "__main__":
    unittest.main()
