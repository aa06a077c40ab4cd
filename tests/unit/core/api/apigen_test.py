"""apigen refuses every malformed file with the file's, the message's and the field's name."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

APIGEN = sys.argv.pop(1)
ID = ["u16", "_vl_msg_id"]


def message(*fields, name="m", **options):
    return {"messages": [[name, ID, *fields, {"crc": "0x00000001", **options}]]}


class Refusals(unittest.TestCase):
    def run_on(self, content, name="x"):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, name + ".api.json")
            with open(path, "w", encoding="utf-8") as f:
                f.write(content if isinstance(content, str) else json.dumps(content))
            done = subprocess.run([APIGEN, "--out", folder, path], capture_output=True, text=True, check=False)
            return done.returncode, done.stderr.replace(folder + "/", ""), sorted(os.listdir(folder))

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
                subprocess.run([APIGEN, "--out", folder, path], check=True)
                with open(os.path.join(folder, "x.api.h"), encoding="utf-8") as f:
                    return f.read().split('kInfo{"m", ')[1][:10]
        self.assertEqual(crc("u32"), crc("u32"))
        self.assertNotEqual(crc("u32"), crc("i32"))

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

    def test_services(self):
        self.refuse({**message(), "services": {"m": {"reply": "r"}}}, "service m: unknown message 'r'")

    def test_imports(self):
        self.refuse({"imports": ["none.api.json"]} | message(), "none.api.json")


if __name__ == "__main__":
    unittest.main()
