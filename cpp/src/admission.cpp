#include "admission.h"

#include "s2deploy/error.h"
#include "sha256.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace s2deploy
{
namespace
{

using Numbers = std::vector<int>;

Numbers const kNEWER_GPUS_FROM{8, 0};

//! The numbers of a version: major, minor, patch and build, as far as it tells them.
Numbers numbersOf(std::string const& version)
{
    Numbers numbers;
    std::istringstream text(version);
    for (int number{}; text >> number; text.ignore())
    {
        numbers.push_back(number);
        if (text.peek() != '.')
        {
            break;
        }
    }
    return numbers;
}

//! The last major version that runs version-compatible plans of a major version.
int runsUpTo(int major)
{
    return major <= 9 ? 10 : major + 1;
}

std::string join(std::vector<std::string> const& words, std::string const& between)
{
    std::string text;
    for (std::string const& word : words)
    {
        text += (text.empty() ? "" : between) + word;
    }
    return text;
}

} // namespace

void checkTarget(std::filesystem::path const& plan, Sidecar const& sidecar)
{
    if (sidecar.target == "rtx")
    {
        throw ArtifactError(plan.string() + " was built for TensorRT-RTX, which s2deploy-runtime does not run",
            "run it from Python by s2deploy.load, or build it for full TensorRT: s2deploy build --target tensorrt");
    }
    if (sidecar.target != "tensorrt")
    {
        throw ArtifactError(plan.string() + " was built for '" + sidecar.target
                + "', which this version of s2deploy-runtime does not run",
            "upgrade s2deploy-runtime");
    }
}

void checkVersion(std::filesystem::path const& plan, Sidecar const& sidecar, std::string const& version)
{
    auto const entry = sidecar.versions.find("tensorrt");
    std::string const built = entry == sidecar.versions.end() ? "" : entry->second;
    Numbers const made = numbersOf(built);
    Numbers const here = numbersOf(version);
    // Some packages, and TensorRT before 10, leave out the build number, which TensorRT itself then compares.
    auto const known = static_cast<std::ptrdiff_t>(std::min(made.size(), here.size()));
    if (std::equal(made.begin(), made.begin() + known, here.begin()))
    {
        return;
    }
    std::string const hint = "use the libraries of TensorRT " + built + ", or build the plan again on this machine";
    if (!sidecar.versionCompatible)
    {
        throw TargetUnavailableError(plan.string() + " was built by TensorRT " + built
                + " and runs on that version alone; this is " + version,
            hint + "; with --version-compatible newer versions run it too");
    }
    int const newest = runsUpTo(made.front());
    if (here < made || here.front() > newest)
    {
        throw TargetUnavailableError(plan.string() + " runs on TensorRT " + built + " up to " + std::to_string(newest)
                + ".x; this is " + version,
            hint);
    }
}

void checkDevice(std::filesystem::path const& plan, Sidecar const& sidecar, Gpu const& gpu)
{
    std::vector<std::string> built = sidecar.capabilities;
    if (built.empty() && sidecar.device)
    {
        built = {sidecar.device->capability};
    }
    bool const isNewer = sidecar.hardwareCompatible && numbersOf(gpu.capability) >= kNEWER_GPUS_FROM;
    if (built.empty() || isNewer || std::find(built.begin(), built.end(), gpu.capability) != built.end())
    {
        return;
    }
    throw TargetUnavailableError(plan.string() + " was built for GPUs of compute capability " + join(built, " or ")
            + "; GPU " + std::to_string(gpu.ordinal) + ", " + gpu.name + ", has " + gpu.capability,
        "build it on this GPU; with --hardware-compatible a plan runs on every GPU from 8.0 on");
}

void checkBytes(
    std::filesystem::path const& plan, Sidecar const& sidecar, std::vector<char> const& bytes, bool verifyHash)
{
    FileIdentity const& expected = sidecar.plan;
    std::string const not_described
        = plan.string() + " is not the plan " + sidecarPath(plan).filename().string() + " describes: ";
    std::string const hint = "build the plan again with s2deploy build";
    if (bytes.size() != expected.sizeBytes)
    {
        throw ArtifactError(not_described + std::to_string(bytes.size()) + " bytes, "
                + std::to_string(expected.sizeBytes) + " expected",
            hint);
    }
    if (!verifyHash)
    {
        return;
    }
    std::string const found = sha256(bytes.data(), bytes.size());
    if (found != expected.sha256)
    {
        throw ArtifactError(not_described + "SHA-256 " + found.substr(0, 12) + "..., " + expected.sha256.substr(0, 12)
                + "... expected",
            hint);
    }
}

std::vector<std::filesystem::path> checkPlugins(std::filesystem::path const& plan, Sidecar const& sidecar)
{
    std::vector<std::filesystem::path> libraries;
    for (FileIdentity const& plugin : sidecar.plugins)
    {
        if (plugin.name.empty() || std::filesystem::path(plugin.name).filename() != plugin.name)
        {
            throw ArtifactError("the sidecar of " + plan.string() + " names '" + plugin.name + "', no file beside it",
                "build the plan again");
        }
        auto const folder = std::filesystem::absolute(plan).parent_path();
        auto const path = folder / plugin.name;
        if (!std::filesystem::is_regular_file(path))
        {
            throw ArtifactError(
                plan.string() + " needs the plugin library " + plugin.name + ", which is not beside it",
                "copy it to " + folder.string() + ", from where the plan was built");
        }
        auto const bytes = readFile(path);
        if (sha256(bytes.data(), bytes.size()) != plugin.sha256)
        {
            throw ArtifactError(path.string() + " is not the plugin library " + plan.filename().string()
                    + " was built with (SHA-256 differs)",
                "copy it from where the plan was built, or build the plan again with this one");
        }
        libraries.push_back(path);
    }
    return libraries;
}

std::vector<char> readFile(std::filesystem::path const& path)
{
    std::ifstream file(path, std::ios::binary);
    std::error_code unknown;
    auto const size = std::filesystem::file_size(path, unknown);
    if (!file || unknown)
    {
        throw ArtifactError("cannot read " + path.string(), "check the path and the permissions");
    }
    std::vector<char> bytes(size);
    if (!file.read(bytes.data(), static_cast<std::streamsize>(size)))
    {
        throw ArtifactError("cannot read " + path.string() + " whole", "check that nothing writes it meanwhile");
    }
    return bytes;
}

} // namespace s2deploy
