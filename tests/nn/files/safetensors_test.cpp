// nn/files/safetensors.h: round trips, and refusal of everything that is not exactly the format.
#include "nn/files/safetensors.h"

#include <doctest/doctest.h>

#include <cstring>

#include "core/error.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using test::TempFolder;
using Named = std::vector<std::pair<std::string, Tensor>>;

// A file with this header (not padded) and `data_bytes` zeros.
std::string file_of(const std::string& header, std::size_t data_bytes = 0) {
  const std::uint64_t length = header.size();
  std::string content(8, '\0');
  std::memcpy(content.data(), &length, 8);
  return content + header + std::string(data_bytes, '\0');
}

std::string file_refusal(const std::string& content) {
  const TempFolder folder;
  const auto path = folder.put("x.safetensors", content);
  const std::string text = error_of<FormatError>([&] { SafetensorsFile::open(path); });
  CHECK(has(text, path.string()));
  return text;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

Named sample() {
  return {{"b", Tensor::from(std::vector<double>{1, 2, 3, 4, 5, 6}, {2, 3}, DType::f32)},
          {"a", Tensor::from(std::vector<double>{-1, 0.5}, {2}, DType::bf16)},
          {"é\"\n", Tensor::from_i32(std::vector<std::int32_t>{7, -8}, {1, 1, 1, 2, 1})},
          {"scalar", Tensor::full({}, DType::f64, 0.1)},
          {"none", Tensor::empty({0, 4}, DType::f32)}};
}

TEST_CASE("safetensors: round trip keeps order, types, shapes, bits and metadata") {
  const TempFolder folder;
  const Named tensors = sample();
  write_safetensors(folder / "m", {{"format", "x"}, {"note", "é\n"}}, tensors);
  const SafetensorsFile file = SafetensorsFile::open(folder / "m");
  CHECK(file.metadata() == Metadata{{"format", "x"}, {"note", "é\n"}});
  REQUIRE(file.names().size() == 5);
  for (const auto& [name, tensor] : tensors) {
    CHECK(file.has(name));
    CHECK(file.entry(name).shape == tensor.shape());
    CHECK(file.read(name).equal_bits(tensor));
  }
  CHECK(file.names()[0] == "b");
  CHECK_FALSE(file.has("c"));
  std::uint64_t header = 0;
  std::memcpy(&header, TempFolder::get(folder / "m").data(), 8);
  CHECK(header % 8 == 0);
}

TEST_CASE("safetensors: nothing in it, row views, several writes") {
  const TempFolder folder;
  write_safetensors(folder / "m", {}, Named{});
  CHECK(SafetensorsFile::open(folder / "m").names().empty());
  const Tensor packed = Tensor::from(std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8}, {2, 4}, DType::f32);
  const Tensor view = packed.column_view(1, 3);
  write_safetensors(folder / "m", {}, Named{{"view", view}, {"row", packed.slice(1, 2)}});
  const SafetensorsFile file = SafetensorsFile::open(folder / "m");
  CHECK(file.read("view").to_vector() == std::vector<double>{2, 3, 6, 7});
  CHECK(file.read("row").to_vector() == std::vector<double>{5, 6, 7, 8});
  packed.fill(0);
  file.read_into("view", packed.column_view(2, 4));
  CHECK(packed.to_vector() == std::vector<double>{0, 0, 2, 3, 0, 0, 6, 7});
  CHECK(folder.file_count() == 1);
}

TEST_CASE("safetensors: read_as converts float types and checks shape, type and name") {
  const TempFolder folder;
  write_safetensors(folder / "m", {}, sample());
  const SafetensorsFile file = SafetensorsFile::open(folder / "m");
  CHECK(file.read_as("b", {2, 3}, DType::f64).to_vector() == std::vector<double>{1, 2, 3, 4, 5, 6});
  CHECK(file.read_as("b", {2, 3}, DType::bf16).dtype() == DType::bf16);
  CHECK(file.read_as("a", {2}, DType::f32).to_vector() == std::vector<double>{-1, 0.5});
  const std::string shape = error_of<FormatError>([&] { file.read_as("b", {3, 2}, DType::f32); });
  CHECK(has(shape, "tensor \"b\" must have the shape [3,2]; found [2,3]"));
  CHECK(has(shape, (folder / "m").string()));
  // A wanted shape that no memory could hold must not be allocated first.
  CHECK(has(error_of<FormatError>([&] { file.read_as("b", {std::int64_t{1} << 40, 1 << 20}, DType::f64); }), "found"));
  CHECK(has(error_of<FormatError>([&] { file.read_into("b", Tensor::empty({6}, DType::f32)); }), "[6]; found [2,3]"));
  CHECK(has(error_of<FormatError>([&] { file.read_as("é\"\n", {1, 1, 1, 2, 1}, DType::f32); }), "found I32"));
  CHECK(has(error_of<FormatError>([&] { file.read_as("b", {2, 3}, DType::i32); }), "must be of type I32; found F32"));
  const std::string missing = error_of<FormatError>([&] { file.read("scalr"); });
  CHECK(has(missing, "a tensor \"scalr\" is required"));
  CHECK(has(missing, "did you mean \"scalar\"?"));
}

TEST_CASE("safetensors: what cannot be written") {
  const TempFolder folder;
  const Tensor one = Tensor::zeros({1}, DType::f32);
  const auto refused = [&](const Named& tensors, const Metadata& metadata = {}) {
    return error_of<ValueError>([&] { write_safetensors(folder / "m", metadata, tensors); });
  };
  CHECK(has(refused({{"a", one}, {"a", one}}), "\"a\" twice"));
  CHECK(has(refused({{"__metadata__", one}}), "rename one"));
  CHECK(has(refused({{"a", Tensor()}}), "\"a\" is undefined"));
  CHECK(has(refused({{"\xff", one}}), "valid UTF-8"));
  CHECK(has(refused({{"a", one}}, {{"k", "\xff"}}), "valid UTF-8"));
  CHECK(has(error_of<IoError>([&] { write_safetensors(folder / "none/m", {}, Named{}); }), "No such file"));
  CHECK(folder.file_count() == 0);
}

TEST_CASE("safetensors: a file truncated at any byte, or longer, is refused") {
  const TempFolder folder;
  write_safetensors(folder / "m", {{"k", "v"}}, sample());
  const std::string whole = TempFolder::get(folder / "m");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto path = folder.put("cut", whole.substr(0, size));
    CAPTURE(size);
    CHECK_FALSE(error_of<FormatError>([&] { SafetensorsFile::open(path); }).empty());
  }
  CHECK(has(file_refusal(whole.substr(0, 5)), "at least 8 bytes; this one has 5"));
  CHECK(has(file_refusal(whole.substr(0, 20)), "the header must lie in the file"));
  CHECK(has(file_refusal(whole.substr(0, whole.size() - 1)), "truncated"));
  CHECK(has(file_refusal(whole + "x"), "trailing bytes"));
  CHECK_THROWS_AS(SafetensorsFile::open(folder / "none"), IoError);
  CHECK_THROWS_AS(SafetensorsFile::open(folder.path()), IoError);
}

TEST_CASE("safetensors: every byte of the header replaced: refused or read, never worse") {
  const TempFolder folder;
  write_safetensors(folder / "m", {{"k", "v"}}, sample());
  const std::string whole = TempFolder::get(folder / "m");
  std::uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  for (std::size_t i = 0; i < 8 + header; ++i) {
    for (const char c : {'\0', '9', '{', '"', '\xff', ','}) {
      std::string changed = whole;
      changed[i] = c;
      const auto path = folder.put("changed", changed);
      error_of<FormatError>([&] {
        const SafetensorsFile file = SafetensorsFile::open(path);
        for (const std::string& name : file.names()) file.read(name);
      });
    }
  }
}

TEST_CASE("safetensors: header that is no header") {
  CHECK(has(file_refusal(file_of("")), "must begin with '{'"));
  CHECK(has(file_refusal(file_of("[]")), "must begin with '{'"));
  CHECK(has(file_refusal(file_of(" {}")), "must begin with '{'"));
  CHECK(has(file_refusal(file_of("{")), "valid JSON"));
  CHECK(has(file_refusal(file_of("{}{}")), "valid JSON"));
  CHECK(has(file_refusal(file_of("{\"a\":1e999}")), "valid JSON"));
  CHECK(has(file_refusal(file_of(std::string("{}\0garbage", 10))), "a zero byte at offset 2"));
  CHECK(has(file_refusal(std::string(8, '\xff') + "{}"), "it claims 18446744073709551615"));
  std::string huge = file_of("{}");
  huge[3] = 0x7f;
  CHECK(has(file_refusal(huge), "at most 100000000 bytes"));
  const TempFolder folder;
  CHECK(SafetensorsFile::open(folder.put("spaces", file_of("{}      "))).names().empty());
}

TEST_CASE("safetensors: duplicate keys at every level") {
  const std::string a = entry("a", "F32", "[1]", "[0,4]");
  CHECK(has(file_refusal(file_of("{" + a + "," + a + "}", 4)), "\"a\" occurs twice"));
  CHECK(has(file_refusal(file_of(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4)),
            "\"dtype\" occurs twice"));
  CHECK(has(file_refusal(file_of(R"({"__metadata__":{"k":"1","k":"2"}})")), "\"k\" occurs twice"));
  CHECK(has(file_refusal(file_of(R"({"__metadata__":{},"__metadata__":{}})")), "\"__metadata__\" occurs twice"));
}

TEST_CASE("safetensors: fields and their types") {
  CHECK(has(file_refusal(file_of(R"({"a":{"dtype":"F32","shape":[1]}})", 4)), "data_offsets is missing"));
  CHECK(has(file_refusal(file_of(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4)), "dtype is missing"));
  CHECK(has(file_refusal(file_of(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4)), "shape is missing"));
  CHECK(
      has(file_refusal(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4)), "found \"x\""));
  CHECK(has(file_refusal(file_of(R"({"a":1})")), "must be described by an object; found the number 1"));
  CHECK(has(file_refusal(file_of(R"({"a":"x"})")), "must be described by an object; found the string"));
  CHECK(has(file_refusal(file_of(R"({"a":[]})")), "must be described by an object; found an array"));
  CHECK(has(file_refusal(file_of(R"({"a":{"dtype":4}})")), "dtype must be a string"));
  CHECK(has(file_refusal(file_of(R"({"a":{"dtype":[]}})")), "dtype must be a string"));
  CHECK(has(file_refusal(file_of(R"({"a":{"shape":4}})")), "shape must be an array"));
  CHECK(has(file_refusal(file_of(R"({"a":{"shape":{}}})")), "shape must be an array"));
  CHECK(has(file_refusal(file_of(R"({"a":{"shape":[[]]}})")), "found an array"));
  CHECK(has(file_refusal(file_of(R"({"a":{"shape":[{}]}})")), "found an object"));
  CHECK(has(file_refusal(file_of(R"({"a":{"shape":["1"]}})")), "found the string"));
  CHECK(has(file_refusal(file_of(R"({"a":{"shape":[null]}})")), "found null"));
  CHECK(has(file_refusal(file_of(R"({"a":{"shape":[true]}})")), "found true or false"));
  CHECK(has(file_refusal(file_of(R"({"a":{"shape":[1.0]}})")), "found the number \"1.0\""));
  CHECK(has(file_refusal(file_of(R"({"a":{"shape":[-1]}})")), "found the negative number -1"));
  CHECK(has(file_refusal(file_of(R"({"__metadata__":{"k":1}})")), "must map strings to strings"));
  CHECK(has(file_refusal(file_of(R"({"__metadata__":{"k":{}}})")), "must map strings to strings"));
  CHECK(has(file_refusal(file_of(R"({"__metadata__":"k"})")), "must be described by an object"));
  CHECK(has(file_refusal(file_of("{\"a\":{\"shape\":" + std::string(100'000, '[') + "}")), "found an array"));
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  CHECK_FALSE(file_refusal(file_of(deep)).empty());
}

TEST_CASE("safetensors: foreign dtypes are named with what is supported") {
  for (const std::string dtype : {"F16", "I64", "U8", "BOOL", "F8_E4M3", "f32", ""}) {
    CAPTURE(dtype);
    const std::string text = file_refusal(file_of("{" + entry("w", dtype, "[1]", "[0,2]") + "}", 2));
    CHECK(has(text, "tensor \"w\" must be of type F64, F32, BF16 or I32; found \"" + dtype + "\""));
  }
}

TEST_CASE("safetensors: sizes and offsets") {
  const auto one = [](const std::string& shape, const std::string& offsets, std::size_t bytes) {
    return file_refusal(file_of("{" + entry("a", "F32", shape, offsets) + "}", bytes));
  };
  CHECK(has(one("[9223372036854775808]", "[0,4]", 4), "below 2^63; found 9223372036854775808"));
  CHECK(has(one("[18446744073709551616]", "[0,4]", 4), "found the number"));
  CHECK(has(one("[9223372036854775807]", "[0,4]", 4), "fewer than 2^63 bytes"));
  CHECK(has(one("[4294967296,4294967296]", "[0,0]", 0), "fewer than 2^63 bytes"));
  CHECK(has(one("[0,4294967296,4294967296]", "[0,0]", 0), "fewer than 2^63 bytes"));
  CHECK(has(one("[1,1,1,1,1,1]", "[0,4]", 4), "at most 5 values"));
  CHECK(has(one("[2]", "[0,4]", 4), "must occupy 8 bytes"));
  CHECK(has(one("[1]", "[4,0]", 4), "must occupy 4 bytes"));
  CHECK(has(one("[1]", "[0]", 4), "two numbers; found 1"));
  CHECK(has(one("[1]", "[0,4,4]", 4), "two numbers; found 3"));
  CHECK(has(one("[1]", "[4,8]", 8), "without holes"));
  CHECK(has(one("[1]", "[0,4]", 8), "trailing bytes"));
  CHECK(has(one("[1]", "[0,4]", 0), "truncated"));
  CHECK(has(one("[1]", "[9223372036854775800,9223372036854775804]", 4), "without holes"));
  const auto two = [](const std::string& offsets, std::size_t bytes) {
    return file_refusal(
        file_of("{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[2]", offsets) + "}", bytes));
  };
  CHECK(has(two("[4,12]", 12), "without overlap; tensor \"b\" begins at 4 where 8 is expected"));
  CHECK(has(two("[0,8]", 8), "without overlap"));
  CHECK(has(two("[12,20]", 20), "without holes; tensor \"b\" begins at 12 where 8 is expected"));
}

TEST_CASE("safetensors: the header's order need not be the order of the bytes") {
  const TempFolder folder;
  const std::string header = "{" + entry("a", "I32", "[1]", "[4,8]") + "," + entry("b", "I32", "[1]", "[0,4]") + "}";
  std::string content = file_of(header, 8);
  content[8 + header.size()] = 5;
  const SafetensorsFile file = SafetensorsFile::open(folder.put("m", content));
  CHECK(file.names() == std::vector<std::string>{"b", "a"});
  CHECK(file.read("b").item() == 5);
  CHECK(file.read("a").item() == 0);
}

}  // namespace
}  // namespace mixgrad
