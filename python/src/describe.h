// A schema as data for the Python side, which makes classes and signatures of it: every type
// resolved, so that nobody else has to interpret *.api.json.
#pragma once
#include <nlohmann/json.hpp>

#include "client/schema.h"

namespace loom::python {

// {"types": {name: {kind, text, comment, enumerators, fields, element, length}},
//  "messages": {name: {module, comment, entry, fields}},
//  "services": {request: {reply, stream_msg, is_stream, events}}}
// A field: {name, type, shape, is_count, default}. What does not apply is left out.
nlohmann::json describe(const ApiSchema& schema);

}  // namespace loom::python
