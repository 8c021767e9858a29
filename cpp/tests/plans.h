#pragma once

#include "s2deploy/engine.h"
#include "sha256.h"

#include <NvInferRuntime.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

//! \file Plans for the stand-in of TensorRT, with sidecars as s2deploy build writes them.

namespace test
{

using nlohmann::json;

constexpr bool kPROFILES_ARE_EXCLUSIVE = NV_TENSORRT_MAJOR < 10;

inline std::string headerVersion()
{
    return std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR) + "."
        + std::to_string(NV_TENSORRT_PATCH);
}

//! A folder that goes with the test.
class Folder
{
public:
    Folder()
        : path(std::filesystem::temp_directory_path() / ("s2deploy-" + std::to_string(std::random_device{}())))
    {
        std::filesystem::create_directories(path);
    }

    ~Folder()
    {
        std::filesystem::remove_all(path);
    }

    std::filesystem::path const path;
};

inline void writeFile(std::filesystem::path const& path, std::string const& text)
{
    std::ofstream(path, std::ios::binary) << text;
}

inline json identity(std::filesystem::path const& path, std::string const& bytes)
{
    return {{"name", path.filename().string()}, {"sha256", s2deploy::sha256(bytes.data(), bytes.size())},
        {"size_bytes", bytes.size()}};
}

//! A plan of x and y, N x 4 with N from 1 to 8.
inline json plan(json const& changes = json::object())
{
    json content = {{"inputs", {{"x", {-1, 4}}}}, {"profiles", {{{"x", {{1, 4}, {2, 4}, {8, 4}}}}}}};
    content.merge_patch(changes);
    return content;
}

//! Writes a plan and its sidecar.
//!
//! \param changes What is other in the sidecar (a JSON merge patch).
inline std::filesystem::path writePlan(
    Folder const& folder, json const& content = plan(), json const& changes = json::object())
{
    auto const path = folder.path / "model.plan";
    std::string const bytes = content.dump();
    writeFile(path, bytes);
    json sidecar = {{"schema", 1}, {"plan", identity(path, bytes)}, {"target", "tensorrt"}, {"precision", "fp16"},
        {"capabilities", json::array()}, {"versions", {{"tensorrt", headerVersion()}, {"onnx", "1.18.0"}}},
        {"profiles", json::array()}, {"inputs", json::array()}, {"outputs", json::array()},
        {"options", {{"version_compatible", false}}}, {"plugins", json::array()},
        {"device", {{"name", "Fake GPU"}, {"capability", "8.6"}}}};
    sidecar.merge_patch(changes);
    writeFile(folder.path / "model.plan.json", sidecar.dump(2));
    return path;
}

inline s2deploy::Engine load(
    json const& content = plan(), json const& changes = json::object(), s2deploy::LoadOptions const& options = {})
{
    Folder const folder;
    return s2deploy::Engine::load(writePlan(folder, content, changes), options);
}

//! N x 4 values that tell where they lie.
inline std::vector<float> values(std::size_t rows)
{
    std::vector<float> numbers(rows * 4);
    for (std::size_t at = 0; at < numbers.size(); ++at)
    {
        numbers[at] = static_cast<float>(at) - 3.5F;
    }
    return numbers;
}

//! Whether an output holds the doubles of some values.
inline bool isDoubled(s2deploy::Tensor const& output, std::vector<float> const& input)
{
    if (output.bytes.size() != input.size() * sizeof(float))
    {
        return false;
    }
    for (std::size_t at = 0; at < input.size(); ++at)
    {
        if (output.as<float>()[at] != input[at] + input[at])
        {
            return false;
        }
    }
    return true;
}

} // namespace test
