#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace s2deploy
{

//! A file as it was when the plan was built.
struct FileIdentity
{
    std::string name;
    std::string sha256;
    std::uintmax_t sizeBytes{};
};

//! The GPU an engine was built on.
struct BuiltOn
{
    std::string name;
    std::string capability;
};

//! What decides whether a plan may be loaded here; `model.plan.json` holds more.
//!
//! The layout is that of s2deploy/sidecar.py.
struct Sidecar
{
    FileIdentity plan;
    std::string target;
    std::vector<std::string> capabilities;
    std::map<std::string, std::string> versions;
    std::optional<BuiltOn> device;
    std::vector<FileIdentity> plugins;
    bool versionCompatible{};
    bool hardwareCompatible{};
};

//! Where a plan's sidecar lies: `model.plan` has `model.plan.json`.
std::filesystem::path sidecarPath(std::filesystem::path const& plan);

//! Reads a plan's sidecar.
//!
//! \throws ArtifactError It is missing or damaged.
Sidecar readSidecar(std::filesystem::path const& plan);

} // namespace s2deploy
