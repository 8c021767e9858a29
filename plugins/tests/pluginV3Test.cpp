//! \file pluginV3Test.cpp
//! Loads the library as TensorRT 10 and 11 do and checks everything that needs no GPU: pluginV3Test LIBRARY

#include "checks.h"
#include "fakeExpressions.h"
#include "fieldList.h"

#include <cstring>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <map>

namespace s2deploy
{
namespace
{
using namespace nvinfer1;

class CountingLogger final : public ILogger
{
public:
    void log(Severity /* severity */, AsciiChar const* message) noexcept override
    {
        ++mMessages;
        mLast = message;
    }

    //! \return whether something was logged since the last call
    bool wasToldOf(std::string const& text)
    {
        bool const told = mMessages > 0 && mLast.find(text) != std::string::npos;
        mMessages = 0;
        return told;
    }

private:
    int32_t mMessages{0};
    std::string mLast;
};

class Finder final : public ILoggerFinder
{
public:
    ILogger* findLogger() override
    {
        return &mLogger;
    }

    CountingLogger mLogger;
};

Finder gLoggers;
std::map<std::string, IPluginCreatorV3One*> gCreators;

struct Made
{
    explicit Made(IPluginV3* made)
        : plugin(made)
        , core(capability<IPluginV3OneCore>(PluginCapabilityType::kCORE))
        , build(capability<IPluginV3OneBuild>(PluginCapabilityType::kBUILD))
        , runtime(capability<IPluginV3OneRuntime>(PluginCapabilityType::kRUNTIME))
    {
    }

    template <typename T>
    T* capability(PluginCapabilityType type)
    {
        return plugin == nullptr ? nullptr : static_cast<T*>(plugin->getCapabilityInterface(type));
    }

    std::unique_ptr<IPluginV3> plugin;
    IPluginV3OneCore* core;
    IPluginV3OneBuild* build;
    IPluginV3OneRuntime* runtime;
};

Made make(std::string const& name, FieldList& fields, TensorRTPhase phase = TensorRTPhase::kBUILD)
{
    return Made(gCreators.at(name)->createPlugin("node", fields.get(), phase));
}

FieldList usualFields(std::string const& name, int32_t channels, int32_t channelsLast)
{
    FieldList fields;
    fields.add("groups", fourGroups(channels)).add("channels_last", {channelsLast});
    name == "SpatialShift" ? fields.add("border", {1}) : fields.add("branches", {3});
    return fields;
}

void testCreators(IPluginCreatorInterface* const* creators, int32_t count)
{
    for (int32_t at = 0; at < count; ++at)
    {
        auto* const creator = static_cast<IPluginCreatorV3One*>(creators[at]);
        check(std::string(creators[at]->getInterfaceInfo().kind) == "PLUGIN CREATOR_V3ONE", "kind of creator");
        check(std::string(creator->getPluginVersion()) == "1", "version");
        check(std::string(creator->getPluginNamespace()) == "s2deploy", "namespace");
        gCreators[creator->getPluginName()] = creator;
    }
    check(count == 3 && gCreators.size() == 3, "three creators");
    for (auto const& [name, creator] : gCreators)
    {
        PluginFieldCollection const* const fields = creator->getFieldNames();
        std::string names;
        for (int32_t at = 0; at < fields->nbFields; ++at)
        {
            names += std::string(fields->fields[at].name) + " ";
            check(fields->fields[at].type == PluginFieldType::kINT32, name + " has fields of integers");
        }
        std::string const choice = name == "SpatialShift" ? "border " : "branches ";
        check(names == "groups channels_last " + choice, name + " announces " + names);
    }
}

void testRefusals()
{
    auto const refuses = [](std::string const& name, FieldList& fields, std::string const& reason) {
        check(make(name, fields).plugin == nullptr && gLoggers.mLogger.wasToldOf(reason), "refuses: " + reason);
    };
    FieldList none;
    refuses("SpatialShift", none, "begin, end, dy, dx");
    FieldList unfinished;
    refuses("SpatialShift", unfinished.add("groups", {0, 4, 1}), "begin, end, dy, dx");
    FieldList overlapping;
    refuses("SpatialShift", overlapping.add("groups", {0, 4, 1, 0, 2, 6, 0, 1}), "ascending");
    FieldList border;
    refuses("SpatialShift", border.add("groups", {0, 4, 1, 0}).add("border", {3}), "border is 3");
    FieldList layout;
    refuses("SpatialShift", layout.add("groups", {0, 4, 1, 0}).add("channels_last", {2}), "channels_last is 2");
    FieldList unknown;
    refuses("SpatialShift", unknown.add("groups", {0, 4, 1, 0}).add("branches", {3}), "no field branches");
    FieldList type;
    refuses("SpatialShift", type.addFloat("groups"), "not of integers");
    FieldList missing;
    refuses("ShiftSum", missing.add("groups", {0, 4, 1, 0}), "branches is missing");
    FieldList zero;
    refuses("ShiftSumPool", zero.add("groups", {0, 4, 1, 0}).add("branches", {0}), "branches is 0");
    FieldList two;
    refuses("ShiftSumPool", two.add("groups", {0, 4, 1, 0}).add("branches", {1, 2}), "not one integer");
    IPluginV3* const made = gCreators.at("ShiftSum")->createPlugin("node", nullptr, TensorRTPhase::kBUILD);
    check(made == nullptr && gLoggers.mLogger.wasToldOf("no fields"), "refuses no collection");
}

void testShapes(std::string const& name, int32_t channelsLast)
{
    int32_t const branches = name == "SpatialShift" ? 1 : 3;
    int32_t const channels = 8 * branches;
    FieldList fields = usualFields(name, channels, channelsLast);
    Made const made = make(name, fields);
    int32_t const inputs = name == "ShiftSum" ? 2 : 1;
    check(std::string(made.core->getPluginName()) == name && made.build->getNbOutputs() == 1, name);
    FakeBuilder builder;
    bool const last = channelsLast == 1;
    std::vector<DimsExprs> const in{
        last ? builder.shape({-2, -5, 6, channels}) : builder.shape({-2, channels, -5, 6}),
        builder.shape({-2, branches, 8})};
    DimsExprs out{};
    check(made.build->getOutputShapes(in.data(), inputs, nullptr, 0, &out, 1, builder) == 0, name + " gives a shape");
    std::vector<Extent> const expected = name == "ShiftSumPool" ? std::vector<Extent>{2, 8}
        : last                                                  ? std::vector<Extent>{2, 5, 6, 8}
                                                                : std::vector<Extent>{2, 8, 5, 6};
    check(valuesOf(out) == expected, "shape of " + name);
    check(!out.d[0]->isConstant(), name + " keeps the batch symbolic");
    DimsExprs const narrow = builder.shape({2, 7, 7, 7});
    check(made.build->getOutputShapes(&narrow, 1, nullptr, 0, &out, 1, builder) != 0
            && gLoggers.mLogger.wasToldOf(inputs == 1 ? "channels" : "inputs"),
        name + " refuses too few channels or inputs");
    for (DataType const type : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16})
    {
        DataType const types[]{type, type};
        DataType given{};
        check(made.build->getOutputDataTypes(&given, 1, types, inputs) == 0, name + " gives a type");
        DataType const wanted = name == "ShiftSumPool" ? DataType::kFLOAT : type;
        check(given == wanted, "type of " + name);
        std::vector<DynamicPluginTensorDesc> tensors(static_cast<size_t>(inputs) + 1);
        auto const supports = [&](int32_t position, DataType at, TensorFormat format) {
            for (DynamicPluginTensorDesc& tensor : tensors)
            {
                tensor.desc = describe({2, 8, 5, 6}, type);
            }
            tensors.back().desc.type = wanted;
            tensors[static_cast<size_t>(position)].desc.type = at;
            tensors[static_cast<size_t>(position)].desc.format = format;
            return made.build->supportsFormatCombination(position, tensors.data(), inputs, 1);
        };
        for (int32_t position = 0; position < inputs; ++position)
        {
            check(supports(position, type, TensorFormat::kLINEAR), name + " takes linear inputs");
            check(!supports(position, type, TensorFormat::kCHW4), name + " takes no other layout");
            check(!supports(position, DataType::kINT8, TensorFormat::kLINEAR), name + " takes no int8");
        }
        check(supports(inputs, wanted, TensorFormat::kLINEAR), name + " gives linear outputs");
        check(!supports(inputs, DataType::kINT32, TensorFormat::kLINEAR), name + " gives no int32");
    }
    DynamicPluginTensorDesc range{};
    DataType const half = DataType::kHALF;
    range.max = (last ? describe({4, 9, 9, channels}, half) : describe({4, channels, 9, 9}, half)).dims;
    bool const needsMemory = name == "ShiftSumPool" && last;
    check((made.build->getWorkspaceSize(&range, inputs, &range, 1) > 0) == needsMemory, "workspace of " + name);
}

void testCopies(std::string const& name)
{
    FieldList fields = usualFields(name, 12, 1);
    Made original = make(name, fields);
    Made const copy(original.plugin->clone());
    Made const attached(copy.runtime->attachToContext(nullptr));
    original.plugin.reset();
    PluginFieldCollection const* const saved = attached.runtime->getFieldsToSerialize();
    Made const read(gCreators.at(name)->createPlugin("node", saved, TensorRTPhase::kRUNTIME));
    check(read.plugin != nullptr, name + " reads what it wrote");
    PluginFieldCollection const* const again = read.runtime->getFieldsToSerialize();
    bool equal = saved->nbFields == again->nbFields;
    for (int32_t at = 0; equal && at < saved->nbFields; ++at)
    {
        PluginField const& first = saved->fields[at];
        PluginField const& second = again->fields[at];
        equal = std::string(first.name) == second.name && first.length == second.length && first.data != nullptr
            && std::memcmp(first.data, second.data, static_cast<size_t>(first.length) * sizeof(int32_t)) == 0;
    }
    check(equal && saved->nbFields == 4, name + " writes what it read");
    FieldList unversioned = usualFields(name, 12, 1);
    check(make(name, unversioned, TensorRTPhase::kRUNTIME).plugin == nullptr
            && gLoggers.mLogger.wasToldOf("format version 0"),
        name + " refuses fields without a format version");
    FieldList future = usualFields(name, 12, 1);
    check(make(name, future.add("format_version", {2}), TensorRTPhase::kRUNTIME).plugin == nullptr
            && gLoggers.mLogger.wasToldOf("format version 2"),
        name + " refuses a later format");
}

void testEnqueue(std::string const& name)
{
    FieldList fields = usualFields(name, 12, 0);
    Made const made = make(name, fields);
    void const* const inputs[]{nullptr, nullptr};
    void* const outputs[]{nullptr};
    auto const run = [&](Extent batch, Extent channels) {
        PluginTensorDesc const in[]{describe({batch, channels, 3, 3}, DataType::kFLOAT),
            describe({batch, 3, channels / 3}, DataType::kFLOAT)};
        return made.runtime->enqueue(in, in, inputs, outputs, nullptr, nullptr);
    };
    check(run(0, 12) == 0, name + " has nothing to do for an empty batch");
    check(run(1, 11) != 0 && gLoggers.mLogger.wasToldOf("channels"), name + " checks shapes when it runs");
    int32_t devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
    {
        check(run(1, 12) != 0 && gLoggers.mLogger.wasToldOf("the launch failed"), name + " reports a failed launch");
    }
}
} // namespace
} // namespace s2deploy

int main(int argc, char** argv)
{
    using namespace s2deploy;
    void* const library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : nullptr;
    if (library == nullptr)
    {
        std::fprintf(stderr, "pluginV3Test LIBRARY: %s\n", argc == 2 ? dlerror() : "no library");
        return 1;
    }
    using GetCreators = nvinfer1::IPluginCreatorInterface* const* (*) (int32_t&);
    using SetLoggerFinder = void (*)(nvinfer1::ILoggerFinder*);
    using GetNumber = int32_t (*)();
    reinterpret_cast<SetLoggerFinder>(dlsym(library, "setLoggerFinder"))(&gLoggers);
    check(reinterpret_cast<GetNumber>(dlsym(library, "s2deployOperatorVersion"))() == 1, "operator version");
    check(reinterpret_cast<GetNumber>(dlsym(library, "s2deployTensorRtMajor"))() == NV_TENSORRT_MAJOR, "major");
    check(dlsym(library, "_ZN8s2deploy9OperationC2ENS_10AttributesE") == nullptr, "exports only what TensorRT calls");
    int32_t count = 0;
    auto const creators = reinterpret_cast<GetCreators>(dlsym(library, "getCreators"))(count);
    testCreators(creators, count);
    testRefusals();
    for (auto const& entry : gCreators)
    {
        testShapes(entry.first, 0);
        testShapes(entry.first, 1);
        testCopies(entry.first);
        testEnqueue(entry.first);
    }
    return finish("pluginV3Test");
}
