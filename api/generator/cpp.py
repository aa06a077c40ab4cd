"""The C++ of a module: structs, checked encode() and decode(), the message table with CRCs."""
import os

import jsonfile

CPP = {"u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "u64": "uint64_t", "i8": "int8_t", "i16": "int16_t",
       "i32": "int32_t", "i64": "int64_t", "f64": "double", "bool": "bool"}
KEYWORDS = {"asm", "auto", "bool", "break", "case", "catch", "char", "class", "concept", "const", "continue",
            "default", "delete", "do", "double", "else", "enum", "explicit", "export", "extern", "false", "float", "for",
            "friend", "goto", "if", "inline", "int", "long", "mutable", "namespace", "new", "noexcept", "not",
            "operator", "or", "private", "protected", "public", "register", "requires", "return", "short", "signed",
            "sizeof", "static", "struct", "switch", "template", "this", "throw", "true", "try", "typedef", "typename",
            "union", "unsigned", "using", "virtual", "void", "volatile", "while", "xor"}


def camel(name):
    return "".join(part.capitalize() for part in name.lower().split("_"))


def member(name):
    return name + "_" if name in KEYWORDS else name


def wrapped(text, indent=""):
    """As a comment of lines that fit."""
    lines, line = [], ""
    for word in text.split():
        if line and len(indent) + 3 + len(line) + 1 + len(word) > 100:
            lines.append(line)
            line = ""
        line += (" " if line else "") + word
    return "".join(f"{indent}// {l}\n" for l in [*lines, line] if l)


def type_name(t):
    return CPP[t.name] if t.kind == "scalar" else camel(t.name)


def enumerator(t, name):
    return f"{camel(t.name)}::k{camel(name)}" if t.kind == "enum" else f"k{camel(name)}"


def default_value(f):
    """What a member starts as."""
    if f.default is None:
        return "{}"
    behind = f.type.underlying()
    if behind.kind == "scalar":
        return " = " + (str(bool(f.default)).lower() if behind.name == "bool" else str(f.default))
    for name, value in behind.enumerators:
        if f.default in (name, value):
            return " = " + enumerator(behind, name)
    return f" = static_cast<{type_name(behind)}>({f.default})"


def declaration(f):
    name = member(f.name)
    if f.shape == "fixed":
        return f"std::array<{type_name(f.type)}, {f.length}> {name}{{}};"
    if f.shape == "variable":
        return f"std::vector<{type_name(f.type)}> {name}{{}};"
    if f.shape == "string":
        return f"std::string {name}{{}};"
    if f.shape == "fixed_string":
        return f"std::string {name}{{}};  // at most {f.length - 1} bytes"
    return f"{type_name(f.type)} {name}{default_value(f)};"


def put(f, value):
    if f.shape == "fixed_string":
        return f"w.fixed_string({value}, {f.length});"
    if f.shape == "string":
        return f"w.string({value});"
    return f"put(w, {value});"


def get(f, target):
    if f.shape == "fixed_string":
        return f"{target} = r.fixed_string({f.length});"
    if f.shape == "string":
        return f"{target} = r.string();"
    return f"get(r, {target});"


class Writer:
    def __init__(self, module):
        self.module = module
        self.header, self.source = [], []

    def generate(self):
        for t in self.module.own_types():
            getattr(self, t.kind)(t)
        for m in self.module.messages.values():
            info = f'  static constexpr ApiMessageInfo kInfo{{"{m.name}", {m.crc}}};\n'
            if m.secrets:
                at, size = m.secret_range
                info += f"  static constexpr ApiSecret kSecret{{{at}, {'~0u' if size is None else size}}};\n"
            self.struct(camel(m.name), m.fields, m.comment, info)
            if m.secrets:
                self.clear_secrets(camel(m.name), m.secrets)

    def clear_secrets(self, name, secrets):
        self.header.append(f"void clear_secrets({name}&) noexcept;\n")
        lines = "".join(f"  clear(m.{member(f.name)});\n" for f in secrets)
        self.source.append(f"void clear_secrets({name}& m) noexcept {{\n{lines}}}\n")

    def alias(self, t):
        cpp = type_name(t.base)
        if t.length:
            cpp = f"std::array<{cpp}, {t.length}>"
        self.header.append(f"using {camel(t.name)} = {cpp};\n")

    def enum(self, t):
        lines = "".join(f"  k{camel(name)} = {value},\n" for name, value in t.enumerators)
        self.header.append(f"{wrapped(t.comment)}enum class {camel(t.name)} : {CPP[t.base.name]} {{\n{lines}}};\n")

    def enumflag(self, t):
        """Flags are or-ed together, and stay of their type."""
        name, base = camel(t.name), CPP[t.base.name]
        lines = "".join(f"  k{camel(e)} = {value},\n" for e, value in t.enumerators)
        operators = "".join(
            f"constexpr {name} operator{op}({name} a, {name} b) {{\n"
            f"  return static_cast<{name}>(static_cast<{base}>(a) {op} static_cast<{base}>(b));\n}}\n" for op in "|&")
        self.header.append(f"{wrapped(t.comment)}enum {name} : {base} {{\n{lines}}};\n{operators}")

    def type(self, t):
        self.struct(camel(t.name), t.fields, t.comment, "")

    def union(self, t):
        """Bytes in wire order; a member is read from them and written to them."""
        name = camel(t.name)
        head = [f"{wrapped(t.comment)}// A union: which member it holds is said elsewhere. As long as the longest.\n"
                f"struct {name} {{\n  std::array<uint8_t, {t.size}> raw{{}};\n"]
        for f in t.fields:
            kind = f"std::array<{type_name(f.type)}, {f.length}>" if f.shape == "fixed" else \
                "std::string" if f.shape == "fixed_string" else type_name(f.type)
            getter, setter = member(f.name), f"set_{f.name}"
            head.append(f"  {kind} {getter}() const;\n  void {setter}(const {kind}& value);\n")
            self.source.append(
                f"{kind} {name}::{getter}() const {{\n"
                f"  ApiReader r(std::as_bytes(std::span(raw)));\n  {kind} value{{}};\n  {get(f, 'value')}\n"
                f"  return value;\n}}\n"
                f"void {name}::{setter}(const {kind}& value) {{\n"
                f"  std::vector<std::byte> bytes;\n  ApiWriter w(bytes);\n  {put(f, 'value')}\n"
                f"  raw = {{}};\n  std::memcpy(raw.data(), bytes.data(), std::min(bytes.size(), raw.size()));\n}}\n")
        head.append(f"  bool operator==(const {name}&) const = default;\n}};\n"
                    f"void encode(ApiWriter&, const {name}&);\nvoid decode(ApiReader&, {name}&);\n")
        self.header.append("".join(head))
        self.source.append(f"void encode(ApiWriter& w, const {name}& m) {{ put(w, m.raw); }}\n"
                           f"void decode(ApiReader& r, {name}& m) {{ get(r, m.raw); }}\n")

    def struct(self, name, fields, comment, info):
        members = "".join(f"  {declaration(f)}\n" for f in fields if f.shape != "count")
        self.header.append(
            f"{wrapped(comment)}struct {name} {{\n{info}{members}  bool operator==(const {name}&) const = default;\n}};\n"
            f"void encode(ApiWriter&, const {name}&);\nvoid decode(ApiReader&, {name}&);\n")
        puts, gets = [], []
        counted = {f.count: f for f in fields if f.shape == "variable"}
        for f in fields:
            m = "m." + member(f.name)
            if f.shape == "count":
                array = "m." + member(f.count)
                least = counted[f.name].type.least
                puts.append(f"w.number(static_cast<{type_name(f.type)}>({array}.size()));")
                gets.append(f"{array}.resize(r.count<{type_name(f.type)}>({least}));")
            elif f.shape in ("fixed", "variable"):
                puts.append(f"for (const auto& e : {m}) {put(f, 'e')}")
                gets.append(f"for (auto& e : {m}) {get(f, 'e')}")
            else:
                puts.append(put(f, m))
                gets.append(get(f, m))
        unused = "[[maybe_unused]] "
        self.source.append(
            f"void encode({unused}ApiWriter& w, {unused}const {name}& m) {{\n"
            + "".join(f"  {line}\n" for line in puts)
            + f"}}\nvoid decode({unused}ApiReader& r, {unused}{name}& m) {{\n"
            + "".join(f"  {line}\n" for line in gets) + "}\n")


def literal(text):
    """A C++ literal in pieces short enough for every compiler."""
    pieces = [text[i:i + 1000] for i in range(0, len(text), 1000)]
    return "\n        ".join(f'R"~json~({p})~json~"' for p in pieces)


def generate(module):
    """{file name: content}"""
    w = Writer(module)
    w.generate()
    return {
        module.name + ".api.h": HEADER.format(
            file=os.path.basename(module.path), module=camel(module.name), body="\n".join(w.header),
            imports="".join(f'#include "{os.path.basename(i).removesuffix(".json")}.h"\n' for i in module.imports)),
        module.name + ".api.cc": SOURCE.format(
            name=module.name, module=camel(module.name), body="\n".join(w.source), version=", ".join(module.version),
            n=len(module.messages),
            messages="".join(f'    {{"{m.name}", {m.crc}}},\n' for m in module.messages.values()),
            json=literal(jsonfile.text(module)))}


def each_message(modules):
    """A header that names every message, for tests that go through all of them."""
    return EACH.format(
        includes="".join(f'#include "{m.name}.api.h"\n' for m in modules),
        calls="".join(f"  f.template operator()<{camel(message)}>();\n" for m in modules for message in m.messages))


EACH = """// Generated by apigen.
#pragma once
{includes}
namespace loom::api {{

// Calls f.operator()<Message>() for every message.
template <class F>
void for_each_message(F&& f) {{
{calls}}}

}}  // namespace loom::api
"""

HEADER = """// Generated from {file} by apigen.
#pragma once
#include <array>
#include <string>
#include <vector>

#include <hostloom/api.h>
{imports}
namespace loom::api {{

{body}
extern const ApiModule k{module}Module;

}}  // namespace loom::api
"""

SOURCE = """#include "{name}.api.h"

#include <string.h>

#include <algorithm>

namespace loom::api {{
namespace {{

template <class T>
[[maybe_unused]] void put(ApiWriter& w, const T& value) {{
  if constexpr (std::is_enum_v<T>)
    w.number(static_cast<std::underlying_type_t<T>>(value));
  else if constexpr (std::is_arithmetic_v<T>)
    w.number(value);
  else if constexpr (requires {{ std::tuple_size<T>::value; }})
    for (const auto& e : value) put(w, e);
  else
    encode(w, value);
}}
template <class T>
[[maybe_unused]] void get(ApiReader& r, T& value) {{
  if constexpr (std::is_enum_v<T>)
    value = static_cast<T>(r.number<std::underlying_type_t<T>>());
  else if constexpr (std::is_arithmetic_v<T>)
    value = r.number<T>();
  else if constexpr (requires {{ std::tuple_size<T>::value; }})
    for (auto& e : value) get(r, e);
  else
    decode(r, value);
}}

template <class T>
[[maybe_unused]] void clear(T& value) noexcept {{
  if constexpr (requires {{ value.data(); }}) {{
    if (value.size() != 0) explicit_bzero(value.data(), value.size() * sizeof(*value.data()));
  }} else {{
    explicit_bzero(&value, sizeof value);
  }}
}}

constexpr std::array<ApiMessageInfo, {n}> kMessages{{{{
{messages}}}}};

}}  // namespace

{body}
const ApiModule k{module}Module{{
    "{name}",
    {{{version}}},
    kMessages,
    {json}}};

}}  // namespace loom::api
"""
