#include "check.h"
#include "fakeCuda.h"
#include "fakeTensorRT.h"
#include "plans.h"

using namespace s2deploy;
using test::headerVersion;
using test::json;

namespace
{

void loadsWhatBelongsTogether()
{
    test::Folder const folder;
    LoadOptions options;
    options.verifyHash = true;
    Engine const engine = Engine::load(test::writePlan(folder), options);
    EXPECT_EQUAL(engine.backend(), "TensorRT " + headerVersion() + (NV_TENSORRT_MAJOR >= 10 ? ".42" : "") + ", Fake GPU");
    EXPECT(engine.remarks().empty());
}

void refusesAPlanThatIsNotThere()
{
    EXPECT_THROW(UsageError, "no such file", Engine::load("missing.plan"));
}

void refusesAPlanWithoutSidecar()
{
    test::Folder const folder;
    auto const plan = test::writePlan(folder);
    std::filesystem::remove(plan.string() + ".json");
    EXPECT_THROW(ArtifactError, "has no sidecar model.plan.json", Engine::load(plan));
    LoadOptions options;
    options.unchecked = true;
    EXPECT_EQUAL(Engine::load(plan, options).inputs().size(), 1U);
}

void refusesADamagedSidecar()
{
    test::Folder const folder;
    auto const plan = test::writePlan(folder);
    for (char const* const text : {"{", "[]", "{}", R"({"schema": 1, "plan": {"name": 3}})"})
    {
        test::writeFile(plan.string() + ".json", text);
        EXPECT_THROW(ArtifactError, "is damaged", Engine::load(plan));
    }
    test::writePlan(folder, test::plan(), {{"options", {{"version_compatible", "yes"}}}});
    EXPECT_THROW(ArtifactError, "is damaged", Engine::load(plan));
    test::writePlan(folder, test::plan(), {{"schema", 2}});
    EXPECT_THROW(ArtifactError, "has schema 2, not 1", Engine::load(plan));
}

void refusesPlansOfAnotherFamily()
{
    EXPECT_THROW(ArtifactError, "TensorRT-RTX", test::load(test::plan(), {{"target", "rtx"}}));
    EXPECT_THROW(ArtifactError, "upgrade", test::load(test::plan(), {{"target", "tensorrt-lean"}}));
}

//! Lets the library have another version than its headers.
class Version
{
public:
    Version(int minor, int patch)
        : Version(NV_TENSORRT_MAJOR, minor, patch)
    {
    }

    Version(int major, int minor, int patch)
    {
        fake::setLibraryVersion(major, minor, patch, 42);
    }

    ~Version()
    {
        fake::setLibraryVersion(NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH, 42);
    }
};

//! A version of the major version that the test was built for.
std::string sameMajor(std::string const& rest)
{
    return std::to_string(NV_TENSORRT_MAJOR) + "." + rest;
}

json builtBy(std::string const& version, bool compatible)
{
    return {{"versions", {{"tensorrt", version}}}, {"options", {{"version_compatible", compatible}}}};
}

bool isTaken(json const& changes)
{
    return test::load(test::plan(), changes).inputs().size() == 1;
}

void refusesAnotherVersion()
{
    Version const here(6, 1);
    EXPECT(isTaken(builtBy(sameMajor("6.1"), false)));
    EXPECT(isTaken(builtBy(sameMajor("6.1.42"), false)));
    EXPECT(isTaken(builtBy("", false)));
    EXPECT_THROW(TargetUnavailableError,
        "built by TensorRT " + sameMajor("6.0") + " and runs on that version alone; this is " + sameMajor("6.1"),
        isTaken(builtBy(sameMajor("6.0"), false)));
    EXPECT_THROW(TargetUnavailableError,
        "hint: use the libraries of TensorRT " + sameMajor("7.0") + ", or build the plan again",
        isTaken(builtBy(sameMajor("7.0"), false)));
    if (NV_TENSORRT_MAJOR >= 10) // which tell their build number
    {
        EXPECT_THROW(TargetUnavailableError, "this is " + sameMajor("6.1.42"), isTaken(builtBy(sameMajor("6.1.41"), false)));
    }
}

void takesVersionCompatiblePlans()
{
    Version const here(6, 1);
    EXPECT(isTaken(builtBy(sameMajor("6.0"), true)));
    EXPECT_THROW(TargetUnavailableError, "runs on TensorRT " + sameMajor("7.0") + " up to ",
        isTaken(builtBy(sameMajor("7.0"), true)));
    EXPECT_THROW(TargetUnavailableError, "runs on TensorRT 99.1 up to 100.x", isTaken(builtBy("99.1", true)));
}

void takesVersionCompatiblePlansOfOlderMajorVersions()
{
    struct Case
    {
        char const* built;
        int here;
        bool taken;
    };
    for (Case const& each : {Case{"8.6.1", 9, true}, {"8.6.1", 10, true}, {"8.6.1", 11, false}, {"9.3.0", 10, true},
             {"9.3.0", 11, false}, {"10.16.0", 11, true}, {"10.16.0", 12, false}})
    {
        Version const here(each.here, 1, 0);
        if (each.taken)
        {
            EXPECT(isTaken(builtBy(each.built, true)));
        }
        else
        {
            EXPECT_THROW(TargetUnavailableError, "up to", isTaken(builtBy(each.built, true)));
        }
    }
}

void refusesAnotherGpu()
{
    auto const builtOn = [](char const* capability, bool hardwareCompatible) {
        return json{{"device", {{"name", "A GPU"}, {"capability", capability}}},
            {"options", {{"hardware_compatible", hardwareCompatible}}}};
    };
    EXPECT_THROW(TargetUnavailableError,
        "built for GPUs of compute capability 9.0; GPU 0, Fake GPU, has 8.6", test::load(test::plan(), builtOn("9.0", false)));
    Engine const engine = test::load(test::plan(), builtOn("8.9", true)); // an older GPU than the one that built it
    EXPECT_EQUAL(engine.remarks().size(), 1U);
    EXPECT_EQUAL(engine.remarks().front(), "the plan was built and tuned on A GPU; on Fake GPU it may be slower");
    EXPECT_EQUAL(test::load(test::plan(), {{"capabilities", {"7.5", "8.6"}}}).inputs().size(), 1U);
    EXPECT_THROW(TargetUnavailableError, "7.5 or 8.9", test::load(test::plan(), {{"capabilities", {"7.5", "8.9"}}}));
    fake::setGpu(1, "Fake GPU", 7, 5);
    EXPECT_THROW(TargetUnavailableError, "has 7.5", test::load(test::plan(), builtOn("7.0", true)));
    fake::setGpu(0, "", 0, 0);
    EXPECT_THROW(TargetUnavailableError, "CUDA finds no GPU", test::load());
    fake::setGpu(1, "Fake GPU", 8, 6);
    LoadOptions second;
    second.device = 1;
    EXPECT_THROW(TargetUnavailableError, "there is no GPU 1: CUDA offers 1", test::load(test::plan(), test::json::object(), second));
}

void refusesOtherBytes()
{
    test::Folder const folder;
    auto const plan = test::writePlan(folder);
    std::string other = test::plan().dump();
    std::swap(other[other.size() - 2], other[other.size() - 3]);
    test::writeFile(plan, other);
    LoadOptions options;
    options.verifyHash = true;
    EXPECT_THROW(ArtifactError, "is not the plan model.plan.json describes: SHA-256", Engine::load(plan, options));
    test::writeFile(plan, test::plan().dump() + " ");
    EXPECT_THROW(ArtifactError, "bytes, ", Engine::load(plan));
}

void saysWhatTensorRTSays()
{
    EXPECT_THROW(ArtifactError, "refuses the plan; it says:\n  a reason\nhint: build it again",
        test::load(test::plan({{"refuse", "a reason"}})));
}

void letsHostCodeRunOnlyWhereItWasAskedFor()
{
    json const withCode = test::plan({{"hostCode", true}});
    EXPECT_THROW(ArtifactError, "host code", test::load(withCode));
    if (NV_TENSORRT_MAJOR > 8 || NV_TENSORRT_MINOR >= 6)
    {
        EXPECT_EQUAL(test::load(withCode, {{"options", {{"version_compatible", true}}}}).inputs().size(), 1U);
    }
}

void refusesTensorsItCannotHold()
{
    EXPECT_THROW(ArtifactError, "'x' of the plan holds sizes", test::load(test::plan({{"sizesOnHost", true}})));
    EXPECT_THROW(ArtifactError, "is not in C order", test::load(test::plan({{"vectorized", true}})));
    EXPECT_THROW(ArtifactError, "a type that no buffer", test::load(test::plan({{"type", "fp8"}})));
}

void loadsPluginLibraries()
{
    test::Folder const folder;
    auto const needing = [&folder](json const& plugin) {
        return Engine::load(test::writePlan(folder, test::plan({{"needsPlugin", true}}), {{"plugins", {plugin}}}));
    };
    auto const library = folder.path / "plugin.so";
    json const missing = {{"name", "plugin.so"}, {"sha256", ""}, {"size_bytes", 0}};
    EXPECT_THROW(ArtifactError, "needs the plugin library plugin.so, which is not beside it", needing(missing));
    json const outside = {{"name", "../plugin.so"}, {"sha256", ""}, {"size_bytes", 0}};
    EXPECT_THROW(ArtifactError, "names '../plugin.so', no file beside it", needing(outside));
    test::writeFile(library, "no library");
    EXPECT_THROW(ArtifactError, "SHA-256 differs", needing(missing));
    EXPECT_THROW(ArtifactError, "cannot be loaded", needing(test::identity(library, "no library")));
    EXPECT_THROW(ArtifactError, "the plugin is not registered", test::load(test::plan({{"needsPlugin", true}})));
    std::filesystem::copy_file(PLUGIN_OF_THE_TEST, library, std::filesystem::copy_options::overwrite_existing);
    std::ifstream file(library, std::ios::binary);
    std::string const bytes{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQUAL(needing(test::identity(library, bytes)).inputs().size(), 1U);
}

void leavesNothingBehind()
{
    EXPECT(fake::alive() == fake::Alive{});
    EXPECT_EQUAL(fake::contextsAlive(), 0);
}

} // namespace

int main()
{
    return test::run(loadsWhatBelongsTogether, refusesAPlanThatIsNotThere, refusesAPlanWithoutSidecar,
        refusesADamagedSidecar, refusesPlansOfAnotherFamily, refusesAnotherVersion, takesVersionCompatiblePlans,
        takesVersionCompatiblePlansOfOlderMajorVersions, refusesAnotherGpu, refusesOtherBytes, saysWhatTensorRTSays, letsHostCodeRunOnlyWhereItWasAskedFor,
        refusesTensorsItCannotHold, loadsPluginLibraries, leavesNothingBehind);
}
