//! \file pluginV2Test.cpp
//! Loads the library as TensorRT 8.6 and 9 do and checks everything that needs no GPU: pluginV2Test LIBRARY

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

struct Destroy
{
    void operator()(IPluginV2DynamicExt* plugin) const
    {
        plugin->destroy();
    }
};

using Plugin = std::unique_ptr<IPluginV2DynamicExt, Destroy>;

std::map<std::string, IPluginCreator*> gCreators;

Plugin make(std::string const& name, FieldList& fields)
{
    return Plugin(static_cast<IPluginV2DynamicExt*>(gCreators.at(name)->createPlugin("node", fields.get())));
}

Plugin usual(std::string const& name, int32_t channels, int32_t channelsLast)
{
    FieldList fields;
    fields.add("groups", fourGroups(channels)).add("channels_last", {channelsLast});
    name == "SpatialShift" ? fields.add("border", {1}) : fields.add("branches", {3});
    return make(name, fields);
}

std::vector<char> serialize(IPluginV2DynamicExt const& plugin)
{
    std::vector<char> bytes(plugin.getSerializationSize());
    plugin.serialize(bytes.data());
    return bytes;
}

void testCreators(IPluginCreator* const* creators, int32_t count)
{
    for (int32_t at = 0; at < count; ++at)
    {
        check(std::string(creators[at]->getPluginVersion()) == "1", "version");
        check(std::string(creators[at]->getPluginNamespace()) == "s2deploy", "namespace");
        gCreators[creators[at]->getPluginName()] = creators[at];
    }
    check(count == 3 && gCreators.size() == 3, "three creators");
    for (auto const& [name, creator] : gCreators)
    {
        PluginFieldCollection const* const fields = creator->getFieldNames();
        std::string names;
        for (int32_t at = 0; at < fields->nbFields; ++at)
        {
            names += std::string(fields->fields[at].name) + " ";
        }
        std::string const choice = name == "SpatialShift" ? "border " : "branches ";
        check(names == "groups channels_last " + choice, name + " announces " + names);
        FieldList wrong;
        check(make(name, wrong.add("groups", {0, 4, 1})) == nullptr, name + " refuses unfinished groups");
    }
}

void testShapes(std::string const& name, int32_t channelsLast)
{
    int32_t const branches = name == "SpatialShift" ? 1 : 3;
    int32_t const channels = 8 * branches;
    int32_t const inputs = name == "ShiftSum" ? 2 : 1;
    Plugin const plugin = usual(name, channels, channelsLast);
    FakeBuilder builder;
    bool const last = channelsLast == 1;
    std::vector<DimsExprs> const in{
        last ? builder.shape({-2, -5, 6, channels}) : builder.shape({-2, channels, -5, 6}),
        builder.shape({-2, branches, 8})};
    DimsExprs const out = plugin->getOutputDimensions(0, in.data(), inputs, builder);
    std::vector<Extent> const expected = name == "ShiftSumPool" ? std::vector<Extent>{2, 8}
        : last                                                  ? std::vector<Extent>{2, 5, 6, 8}
                                                                : std::vector<Extent>{2, 8, 5, 6};
    check(valuesOf(out) == expected && !out.d[0]->isConstant(), "shape of " + name);
    std::vector<DimsExprs> const narrow(2, builder.shape({2, 7, 7, 7}));
    check(plugin->getOutputDimensions(0, narrow.data(), inputs, builder).nbDims == -1, name + " refuses 7 channels");
    for (DataType const type : {DataType::kFLOAT, DataType::kHALF})
    {
        DataType const types[]{type, type};
        DataType const wanted = name == "ShiftSumPool" ? DataType::kFLOAT : type;
        check(plugin->getOutputDataType(0, types, inputs) == wanted, "type of " + name);
        std::vector<PluginTensorDesc> tensors(static_cast<size_t>(inputs) + 1, describe({2, 8, 5, 6}, type));
        tensors.back().type = wanted;
        for (int32_t position = 0; position <= inputs; ++position)
        {
            check(plugin->supportsFormatCombination(position, tensors.data(), inputs, 1), name + " takes linear");
        }
        tensors[0].format = TensorFormat::kCHW4;
        check(!plugin->supportsFormatCombination(0, tensors.data(), inputs, 1), name + " takes no other layout");
        tensors[0] = describe({2, 8, 5, 6}, DataType::kINT8);
        check(!plugin->supportsFormatCombination(0, tensors.data(), inputs, 1), name + " takes no int8");
    }
    PluginTensorDesc const largest
        = last ? describe({4, 9, 9, channels}, DataType::kHALF) : describe({4, channels, 9, 9}, DataType::kHALF);
    bool const needsMemory = name == "ShiftSumPool" && last;
    check((plugin->getWorkspaceSize(&largest, inputs, &largest, 1) > 0) == needsMemory, "workspace of " + name);
}

void testCopies(std::string const& name)
{
    Plugin original = usual(name, 12, 1);
    original->setPluginNamespace("elsewhere");
    Plugin const copy(static_cast<IPluginV2DynamicExt*>(original->clone()));
    original.reset();
    check(std::string(copy->getPluginNamespace()) == "elsewhere", name + " copies the namespace");
    std::vector<char> const bytes = serialize(*copy);
    auto const read = [&](std::vector<char> const& from) {
        auto* const made = gCreators.at(name)->deserializePlugin("node", from.data(), from.size());
        return Plugin(static_cast<IPluginV2DynamicExt*>(made));
    };
    Plugin const again = read(bytes);
    check(again != nullptr && serialize(*again) == bytes, name + " writes what it read");
    check(read({bytes.begin(), bytes.end() - 4}) == nullptr, name + " refuses bytes that are cut off");
    check(read({}) == nullptr, name + " refuses no bytes");
    std::vector<char> longer = bytes;
    longer.insert(longer.end(), 16, '\0');
    check(read(longer) == nullptr, name + " refuses bytes too many");
    for (size_t const at : {size_t{0}, size_t{4}, size_t{8}, size_t{12}}) // magic number, version, count, channels_last
    {
        std::vector<char> damaged = bytes;
        damaged[at] = static_cast<char>(damaged[at] + 2);
        check(read(damaged) == nullptr, name + " refuses a damaged byte " + std::to_string(at));
    }
}

void testEnqueue(std::string const& name)
{
    Plugin const plugin = usual(name, 12, 0);
    void const* const inputs[]{nullptr, nullptr};
    void* const outputs[]{nullptr};
    auto const run = [&](Extent batch, Extent channels) {
        PluginTensorDesc const in[]{describe({batch, channels, 3, 3}, DataType::kFLOAT),
            describe({batch, 3, channels / 3}, DataType::kFLOAT)};
        return plugin->enqueue(in, in, inputs, outputs, nullptr, nullptr);
    };
    check(run(0, 12) == 0, name + " has nothing to do for an empty batch");
    check(run(1, 11) != 0, name + " checks shapes when it runs");
    int32_t devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
    {
        check(run(1, 12) != 0, name + " reports a failed launch");
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
        std::fprintf(stderr, "pluginV2Test LIBRARY: %s\n", argc == 2 ? dlerror() : "no library");
        return 1;
    }
    using GetCreators = nvinfer1::IPluginCreator* const* (*) (int32_t&);
    using GetNumber = int32_t (*)();
    check(reinterpret_cast<GetNumber>(dlsym(library, "s2deployTensorRtMajor"))() == NV_TENSORRT_MAJOR, "major");
    int32_t count = 0;
    auto const creators = reinterpret_cast<GetCreators>(dlsym(library, "getPluginCreators"))(count);
    testCreators(creators, count);
    for (auto const& entry : gCreators)
    {
        testShapes(entry.first, 0);
        testShapes(entry.first, 1);
        testCopies(entry.first);
        testEnqueue(entry.first);
    }
    return finish("pluginV2Test");
}
