// A command's answer as text for people or as one JSON object for programs.
#pragma once
#include <string>

#include <hostloom/cli.h>

namespace loom {

// Lines as they are; fields as "name  value", names padded to the longest of their run; tables with
// a heading row and columns as wide as their widest cell, numbers to the right.
std::string render_text(const CliReply& reply);
// {"field": "value", "table": [{"column": 1}], "lines": ["..."]}. Whole decimal numbers become
// numbers, everything else strings. Tables of one name are joined; fields of one name become a
// list.
std::string render_json(const CliReply& reply);

}  // namespace loom
