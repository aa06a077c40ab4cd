"""The committed reference pages are what the generator writes now."""
import pathlib
import tempfile
import unittest

from generated import SOURCE, apigen, files_of_the_tree


def content(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in pathlib.Path(folder).iterdir()}


class Docs(unittest.TestCase):
    def test_pages_are_up_to_date(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(apigen("--docs", folder, *files_of_the_tree()), (0, ""))
            now, committed = content(folder), content(SOURCE + "/docs/api")
        self.assertEqual(sorted(now), sorted(committed), "build target api_docs and commit docs/api")
        for name, text in now.items():
            self.assertEqual(committed[name], text, f"{name}: build target api_docs and commit docs/api")

    def test_every_message_says_what_it_is(self):
        with tempfile.TemporaryDirectory() as folder:
            apigen("--json", folder, *files_of_the_tree())
            for name, text in content(folder).items():
                self.assertNotIn('"comment": ""', text, name)


if __name__ == "__main__":
    unittest.main()
