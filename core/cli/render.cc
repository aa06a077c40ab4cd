#include "cli/render.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace loom {
namespace {

using Json = nlohmann::ordered_json;

// Columns of a cell, counting UTF-8 sequences as one.
std::size_t width(std::string_view s) {
  return static_cast<std::size_t>(
      std::ranges::count_if(s, [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
}

bool is_number(std::string_view s) {
  return !s.empty() && s.find_first_not_of("0123456789.") == s.npos;
}

void append_padded(std::string& out, std::string_view cell, std::size_t to, bool right) {
  const std::size_t pad = to - std::min(to, width(cell));
  if (right) out.append(pad, ' ');
  out += cell;
  if (!right) out.append(pad, ' ');
}

void end_line(std::string& out) {
  while (out.ends_with(' ')) out.pop_back();
  out += '\n';
}

void append_table(std::string& out, const CliTable& t) {
  const std::size_t n = t.columns.size();
  std::vector<std::size_t> widths(n);
  std::vector<bool> numeric(n, !t.rows.empty());
  for (std::size_t c = 0; c < n; ++c) widths[c] = width(t.columns[c]);
  for (const auto& row : t.rows)
    for (std::size_t c = 0; c < std::min(n, row.size()); ++c) {
      widths[c] = std::max(widths[c], width(row[c]));
      if (!row[c].empty() && !is_number(row[c])) numeric[c] = false;
    }
  const auto append_row = [&](const std::vector<std::string>& row) {
    for (std::size_t c = 0; c < n; ++c) {
      if (c) out += "  ";
      append_padded(out, c < row.size() ? row[c] : std::string(), widths[c], numeric[c]);
    }
    end_line(out);
  };
  append_row(t.columns);
  for (const auto& row : t.rows) append_row(row);
}

Json json_value(const std::string& text) {
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, ec] = std::from_chars(text.data(), end, number);
  // "007" and "+1" are names, not numbers.
  if (ec == std::errc{} && stop == end && std::to_string(number) == text) return number;
  return text;
}

Json json_table(const CliTable& t) {
  Json rows = Json::array();
  for (const auto& row : t.rows) {
    Json object = Json::object();
    for (std::size_t c = 0; c < t.columns.size(); ++c)
      object[t.columns[c]] = c < row.size() ? json_value(row[c]) : Json(nullptr);
    rows.push_back(std::move(object));
  }
  return rows;
}

}  // namespace

std::string render_text(const CliReply& reply) {
  std::string out;
  const auto& items = reply.items();
  const auto n_tables = std::ranges::count_if(
      items, [](const auto& i) { return std::holds_alternative<CliTable>(i); });
  std::size_t name_width = 0;  // of the run of fields that is being written
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (const auto* line = std::get_if<std::string>(&items[i])) {
      out += *line;
      if (!out.ends_with('\n')) out += '\n';
      name_width = 0;
    } else if (const auto* field = std::get_if<CliReply::Field>(&items[i])) {
      if (name_width == 0)
        for (std::size_t j = i; j < items.size(); ++j) {
          const auto* f = std::get_if<CliReply::Field>(&items[j]);
          if (!f) break;
          name_width = std::max(name_width, width(f->name));
        }
      append_padded(out, field->name, name_width, false);
      out += "  " + field->value;
      end_line(out);
    } else {
      const auto& table = std::get<CliTable>(items[i]);
      if (n_tables > 1 && !table.name.empty()) out += (out.empty() ? "" : "\n") + table.name + "\n";
      append_table(out, table);
      name_width = 0;
    }
  }
  return out;
}

std::string render_json(const CliReply& reply) {
  Json root = Json::object();
  for (const auto& item : reply.items()) {
    if (const auto* line = std::get_if<std::string>(&item)) {
      root["lines"].push_back(*line);
    } else if (const auto* field = std::get_if<CliReply::Field>(&item)) {
      auto& slot = root[field->name];
      if (slot.is_null()) {
        slot = json_value(field->value);
      } else {
        if (!slot.is_array()) slot = Json::array({slot});
        slot.push_back(json_value(field->value));
      }
    } else {
      const auto& table = std::get<CliTable>(item);
      auto& slot = root[table.name.empty() ? "table" : table.name];
      if (slot.is_null()) slot = Json::array();
      for (auto& row : json_table(table)) slot.push_back(std::move(row));
    }
  }
  // Cells may hold bytes from outside that are not UTF-8.
  return root.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace loom
