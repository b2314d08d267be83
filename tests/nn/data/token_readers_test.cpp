// nn/data/readers: files of token ids and arrays of integers.
#include <doctest/doctest.h>

#include "core/error.h"
#include "tests/support/documents_sink.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using test::little_bytes;
using test::read_with;
using IdLists = std::vector<std::vector<std::int32_t>>;

std::string ids_format_error(const std::string& reader, const std::string& content, const ReaderOptions& options = {}) {
  return error_of<FormatError>([&] { read_with(reader, content, options); });
}

TEST_CASE("token readers: raw tokens of 8, 16 and 32 bits") {
  CHECK(read_with("u8", "\x01\xff").id_lists == IdLists{{1, 255}});
  CHECK(read_with("u16", little_bytes<std::uint16_t>({1, 65535, 256})).id_lists == IdLists{{1, 65535, 256}});
  CHECK(read_with("u32", little_bytes<std::uint32_t>({70000, INT32_MAX})).id_lists == IdLists{{70000, INT32_MAX}});
  std::vector<std::uint16_t> many(40'000);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<std::uint16_t>(i);
  CHECK(read_with("u16", little_bytes(many)).id_lists[0].back() == 39'999);
  CHECK(has(ids_format_error("u8", ""), "file: tokens of 1 bytes are required; there is none"));
  CHECK(has(ids_format_error("u16", "abc"), "file: tokens of 2 bytes are required; 1 bytes are left over"));
  CHECK(has(ids_format_error("u32", "abcdefg"), "3 bytes are left over"));
  CHECK(has(ids_format_error("u32", little_bytes<std::uint32_t>({1, 0x80000000U})),
            "every token must be below 2^31; the one at byte 4 is 2147483648"));
}

TEST_CASE("token readers: .bin of nanoGPT and of llm.c") {
  CHECK(read_with("bin", little_bytes<std::uint16_t>({7, 50256})).id_lists == IdLists{{7, 50256}});
  const auto header = [](std::int32_t magic, std::int32_t version, std::int32_t count) {
    std::vector<std::int32_t> numbers(256);
    numbers[0] = magic;
    numbers[1] = version;
    numbers[2] = count;
    return little_bytes(numbers);
  };
  const std::string gpt2 = little_bytes<std::uint16_t>({5, 50256, 6});
  CHECK(read_with("bin", header(20240520, 1, 3) + gpt2).id_lists == IdLists{{5, 50256, 6}});
  CHECK(read_with("bin", header(20240801, 7, 1) + little_bytes<std::uint32_t>({128'000})).id_lists ==
        IdLists{{128'000}});
  CHECK(has(ids_format_error("bin", header(20240520, 2, 3) + gpt2), "must have version 1; it has 2"));
  CHECK(
      has(ids_format_error("bin", header(20240520, 1, 4) + gpt2), "the header promises 4 tokens of 2 bytes; 6 bytes"));
  CHECK(has(ids_format_error("bin", header(20240520, 1, -3) + gpt2), "the header promises -3"));
  CHECK(has(ids_format_error("bin", header(20240520, 1, 0)), "there is none"));
  CHECK(
      has(ids_format_error("bin", header(20240520, 1, 3).substr(0, 500)), "the header of llm.c must have 1012 bytes"));
  CHECK(has(ids_format_error("bin", "abc"), "1 bytes are left over"));
}

std::string npy(const std::string& header, const std::string& data, char version = 1) {
  std::string file = "\x93NUMPY";
  file += version;
  file += '\0';
  const auto size = static_cast<std::uint32_t>(header.size());
  file += version == 1 ? little_bytes<std::uint16_t>({static_cast<std::uint16_t>(size)})
                       : little_bytes<std::uint32_t>({size});
  return file + header + data;
}

TEST_CASE("token readers: .npy of integers") {
  const std::string two = little_bytes<std::int64_t>({1, 70'000});
  CHECK(read_with("npy", npy("{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }   \n", two)).id_lists ==
        IdLists{{1, 70'000}});
  CHECK(read_with("npy", npy("{'shape': (2,), 'fortran_order': True, 'descr': '>u2'}", {"\x01\x02\x03\x04", 4}, 2))
            .id_lists == IdLists{{0x0102, 0x0304}});
  const std::string rows = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}";
  CHECK(read_with("npy", npy(rows, {"\1\2\3\4\5\6", 6})).id_lists == IdLists{{1, 2, 3}, {4, 5, 6}});
  CHECK(read_with("npy", npy(rows, {"\1\2\3\4\5\6", 6}), {.codebooks = {1, 0}, .codebook_size = 10}).id_lists ==
        IdLists{{4, 11, 5, 12, 6, 13}});
  const auto wrong = [&](const std::string& header, const std::string& data) {
    return ids_format_error("npy", npy(header, data));
  };
  CHECK(has(wrong("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", two), "the array's type is \"<f4\""));
  CHECK(has(wrong("{'descr': '<i8', 'fortran_order': False, 'shape': (3,)}", two), "16 follow; the file is truncated"));
  CHECK(has(wrong("{'descr': '<i8', 'fortran_order': False, 'shape': (9223372036854775807, 4)}", two), "16 follow"));
  CHECK(has(wrong("{'descr': '<i8', 'fortran_order': False, 'shape': (0,)}", ""), "at least one integer is required"));
  CHECK(has(wrong("{'descr': '<i8', 'fortran_order': True, 'shape': (1, 2)}", two), "in Fortran's order"));
  CHECK(has(wrong("{'descr': '<i8', 'fortran_order': False, 'shape': (1, 1, 2)}", two), "its shape is [1,1,2]"));
  CHECK(has(wrong("{'descr': '<i8', 'fortran_order': False}", two), "the header must be {'descr'"));
  CHECK(has(wrong("{'descr': '<i8', 'descr': '<i8', 'fortran_order': False, 'shape': (2,)}", two), "the header must"));
  CHECK(has(wrong("{'descr': '<i8', 'fortran_order': False, 'shape': (2,)} x", two), "the header must"));
  CHECK(has(wrong("{'descr': '<i8', 'fortran_order': False, 'shape': (-2,)}", two), "the header must"));
  CHECK(has(wrong("{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}", little_bytes<std::int64_t>({5, -1})),
            "every integer must be a token id from 0 to 2^31-1; number 1 is -1"));
  CHECK(has(ids_format_error("npy", {"\x93NUMPY\x04\x00", 8}), "version 1, 2 or 3"));
  CHECK(has(ids_format_error("npy", {"\x93NUMPY\x01\x00\xff\x00", 10}), "the header must have 255 bytes; 0 are left"));
  CHECK(has(ids_format_error("npy", "NUMPY"), "begins with \\x93NUMPY"));
}

std::string tensors(const std::string& header, const std::string& data) {
  return little_bytes<std::uint64_t>({header.size()}) + header + data;
}

TEST_CASE("token readers: codes in safetensors are interleaved by time, with ids offset by codebook") {
  const std::string data = little_bytes<std::int16_t>({1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16});
  const std::string header =
      R"({"__metadata__":{"a":"b"},"codes":{"dtype":"I16","shape":[2,2,3],"data_offsets":[0,24]}})";
  const std::string file = tensors(header, data);
  CHECK(read_with("safetensors", file, {.codebook_size = 20}).id_lists ==
        IdLists{{1, 24, 2, 25, 3, 26}, {11, 34, 12, 35, 13, 36}});
  CHECK(read_with("safetensors", file).id_lists[0] == std::vector<std::int32_t>{1, 1028, 2, 1029, 3, 1030});
  CHECK(read_with("safetensors", file, {.codebooks = {0}}).id_lists == IdLists{{1, 2, 3}, {11, 12, 13}});
  CHECK(read_with("safetensors", file, {.codebooks = {1}}).id_lists == IdLists{{4, 5, 6}, {14, 15, 16}});
  CHECK(has(ids_format_error("safetensors", file, {.codebook_size = 14}),
            "tensor \"codes\": every code must be below the --codebook-size of 14; codebook 1 has 14 at time 0"));
  CHECK(has(error_of<ValueError>([&] { read_with("safetensors", file, {.codebooks = {2}}); }),
            "--codebooks must name codebooks from 0 to 1; got 2"));
  const std::string two =
      R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})";
  CHECK(read_with("safetensors", tensors(two, "\1\2\3")).id_lists == IdLists{{3}, {1, 2}});
  const auto wrong = [&](const std::string& text, const std::string& bytes) {
    return ids_format_error("safetensors", tensors(text, bytes));
  };
  CHECK(has(wrong(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "1234"), "the type is \"F32\""));
  CHECK(has(wrong(R"({"a":{"dtype":"I32","shape":[2],"data_offsets":[0,4]}})", "1234"), "data_offsets give 4"));
  CHECK(has(wrong(R"({"a":{"dtype":"I32","shape":[1],"data_offsets":[0,8]}})", "1234"), "data_offsets must be"));
  CHECK(has(wrong(R"({"a":{"dtype":"I32","shape":[1],"data_offsets":[4,0]}})", "1234"), "data_offsets must be"));
  CHECK(has(wrong(R"({"a":{"dtype":"I32","shape":[],"data_offsets":[0,4]}})", "1234"), "its shape is []"));
  CHECK(has(wrong(R"({"a":{"dtype":"U8","shape":[0,4],"data_offsets":[0,0]}})", ""), "at least one integer"));
  CHECK(has(wrong(R"({"__metadata__":{}})", ""), "at least one tensor of integers is required"));
  CHECK(has(wrong("[]", ""), "must be an object"));
  CHECK(has(ids_format_error("safetensors", "1234"), "the length of the header must have 8 bytes; 4 are left"));
  CHECK(has(ids_format_error("safetensors", little_bytes<std::uint64_t>({1ULL << 40U})), "at most 64 MiB"));
  CHECK(has(ids_format_error("safetensors", file.substr(0, 20)), "the header must have"));
}

}  // namespace
}  // namespace mixgrad
