#pragma once

#include "device.h"
#include "sidecar.h"

#include <filesystem>
#include <string>
#include <vector>

//! \file Whether a plan may be given to TensorRT here, decided from its sidecar before TensorRT reads a byte of it.
//!
//! TensorRT trusts a plan: one of another version, GPU or build ends in an assertion at best. The rules are those of
//! s2deploy/runtime/admission.py.

namespace s2deploy
{

//! Checks that the plan is one for full TensorRT.
//!
//! \throws ArtifactError It is for another family.
void checkTarget(std::filesystem::path const& plan, Sidecar const& sidecar);

//! Checks the version of TensorRT: the one that built the plan, or a newer one where the plan allows it.
//!
//! \param version That of the loaded library, e.g. "10.16.0.72".
//! \throws TargetUnavailableError It is another one.
void checkVersion(std::filesystem::path const& plan, Sidecar const& sidecar, std::string const& version);

//! Checks the compute capability of the GPU.
//!
//! \throws TargetUnavailableError The plan was built for others.
void checkDevice(std::filesystem::path const& plan, Sidecar const& sidecar, Gpu const& gpu);

//! Checks the size of the plan, and its SHA-256 where that is asked for.
//!
//! \param bytes The plan, as it will be given to TensorRT.
//! \throws ArtifactError It is not the plan the sidecar describes.
void checkBytes(
    std::filesystem::path const& plan, Sidecar const& sidecar, std::vector<char> const& bytes, bool verifyHash);

//! Returns the plugin libraries the plan needs, which lie beside it and are those it was built with.
//!
//! \throws ArtifactError One is missing or another file.
std::vector<std::filesystem::path> checkPlugins(std::filesystem::path const& plan, Sidecar const& sidecar);

//! Reads a file whole.
//!
//! \throws ArtifactError It cannot be read.
std::vector<char> readFile(std::filesystem::path const& path);

} // namespace s2deploy
