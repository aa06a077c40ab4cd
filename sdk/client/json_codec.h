// Messages of an ApiSchema <-> JSON values.
//
//   number, bool     number, boolean; an integer outside of its type is an error
//   string           string; bytes that are not UTF-8 arrive as U+FFFD
//   enum, flags      name, list of names; or the number (EnumStyle). Both are accepted, and "A|B"
//   address, prefix, ip4_..., ip6_..., mac_address    text
//   u8 arrays        hex digits; a list of numbers is accepted, too
//   other arrays     list. Fewer elements than a fixed array has are filled up with zeros
//   type             object. A field that is missing has its default, or zero
//   union            object with the member that the discriminator names; with every member, each
//                    a reading of the same bytes, when nothing says which; encoding takes one.
//                    address_union is text to encode, too
//
// Count fields, the message id, client_index and context are not part of the values. Wire bytes are
// hostile: what does not decode, in bounds and with sense, is an error that names message and
// field.
#pragma once
#include <nlohmann/json.hpp>
#include <span>

#include <hostloom/api.h>
#include <hostloom/status.h>

#include "client/exchange.h"
#include "client/schema.h"

namespace loom {

enum class EnumStyle : uint8_t { kNames, kNumbers };

// The fields behind the id. Errors: kMalformed.
Result<nlohmann::json> decode_json(const SchemaMessage& message, std::span<const std::byte> fields,
                                   EnumStyle style = EnumStyle::kNames);

// Appends the fields behind the id. `values` is an object, or null for none. Errors: kInvalid, and
// the text names the field: one that does not exist, or a value that its type cannot hold.
Result<void> encode_json(const SchemaMessage& message, const nlohmann::json& values,
                         const ApiRequestIds& ids, ApiWriter& out);

}  // namespace loom
