// Curves as TensorBoard reads them: a file of records (TFRecord), each a protocol buffer `Event`
// with one scalar.
//
// Written by hand: a record is a length, the bytes and a checksum of each, an event four fields.
// The protobuf library is no choice in a program that links libtorch, which carries one of its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace graft {

// As the file of records holds it: length, CRC of the length, data, CRC of the data (CRC-32C,
// masked).
std::string record_bytes(std::string_view data);

// The first event of a file: what format it is of.
std::string version_event(double seconds);

// `tag`: "eval/accuracy". seconds: since 1970.
std::string scalar_event(const std::string& tag, int64_t step, double value, double seconds);

}  // namespace graft
