#include "sidecar.h"

#include "s2deploy/error.h"

#include <nlohmann/json.hpp>

#include <fstream>

namespace s2deploy
{
namespace
{

using nlohmann::json;

constexpr int kSCHEMA = 1;

FileIdentity readIdentity(json const& from)
{
    return {from.at("name"), from.at("sha256"), from.at("size_bytes")};
}

Sidecar parse(json const& from)
{
    Sidecar sidecar;
    sidecar.plan = readIdentity(from.at("plan"));
    sidecar.target = from.at("target");
    sidecar.capabilities = from.at("capabilities").get<std::vector<std::string>>();
    sidecar.versions = from.at("versions").get<std::map<std::string, std::string>>();
    if (auto const device = from.find("device"); device != from.end() && !device->is_null())
    {
        sidecar.device = BuiltOn{device->at("name"), device->at("capability")};
    }
    for (json const& plugin : from.value("plugins", json::array()))
    {
        sidecar.plugins.push_back(readIdentity(plugin));
    }
    json const options = from.value("options", json::object());
    sidecar.versionCompatible = options.value("version_compatible", false);
    sidecar.hardwareCompatible = options.value("hardware_compatible", false);
    return sidecar;
}

} // namespace

std::filesystem::path sidecarPath(std::filesystem::path const& plan)
{
    return plan.string() + ".json";
}

Sidecar readSidecar(std::filesystem::path const& plan)
{
    auto const path = sidecarPath(plan);
    if (!std::filesystem::exists(path))
    {
        throw ArtifactError(
            plan.string() + " has no sidecar " + path.filename().string() + ", so nothing about it can be checked",
            "put it beside the plan, or build the plan again with s2deploy build; a plan you trust can be loaded "
            "without one by LoadOptions::unchecked");
    }
    std::ifstream file(path);
    if (!file)
    {
        throw ArtifactError("cannot read " + path.string(), "check the permissions");
    }
    std::string const again = "build the plan again with s2deploy build";
    try
    {
        json const content = json::parse(file);
        if (content.at("schema") != kSCHEMA)
        {
            throw ArtifactError(path.string() + " has schema " + content.at("schema").dump() + ", not "
                    + std::to_string(kSCHEMA) + ", which this version of s2deploy-runtime reads",
                "use the s2deploy-runtime of the s2deploy that built the plan, or " + again);
        }
        return parse(content);
    }
    catch (json::exception const& error)
    {
        throw ArtifactError(path.string() + " is damaged: " + error.what(), again);
    }
}

} // namespace s2deploy
