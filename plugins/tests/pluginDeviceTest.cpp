//! \file pluginDeviceTest.cpp
//! Runs enqueue of the plugins on a GPU and compares with the Python reference: pluginDeviceTest CASES LIBRARY

#include "deviceCases.h"
#include "fakeExpressions.h"
#include "fieldList.h"

#include <dlfcn.h>
#include <map>

namespace
{
using namespace s2deploy;
using namespace nvinfer1;

#if S2_PLUGIN_V3
using Creator = IPluginCreatorV3One;
using Interface = IPluginCreatorInterface;
constexpr char const* kENTRY = "getCreators";
#else
using Creator = IPluginCreator;
using Interface = IPluginCreator;
constexpr char const* kENTRY = "getPluginCreators";
#endif

std::map<std::string, Creator*> gCreators;

DataType typeOf(ElementType type)
{
#if NV_TENSORRT_MAJOR >= 9
    if (type == ElementType::kBFLOAT16)
    {
        return DataType::kBF16;
    }
#endif
    return type == ElementType::kFLOAT16 ? DataType::kHALF : DataType::kFLOAT;
}

int32_t enqueue(char const* name, FieldList& fields, PluginTensorDesc const* in, PluginTensorDesc const* out,
    DeviceBuffers const& buffers)
{
    void const* const inputs[]{buffers.x, buffers.w};
    void* const outputs[]{buffers.y};
#if S2_PLUGIN_V3
    std::unique_ptr<IPluginV3> const plugin(
        gCreators.at(name)->createPlugin("node", fields.get(), TensorRTPhase::kBUILD));
    if (plugin == nullptr)
    {
        return -1;
    }
    auto* const runtime
        = static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    return runtime->enqueue(in, out, inputs, outputs, buffers.workspace, buffers.stream);
#else
    auto* const plugin = static_cast<IPluginV2DynamicExt*>(gCreators.at(name)->createPlugin("node", fields.get()));
    if (plugin == nullptr)
    {
        return -1;
    }
    int32_t const status = plugin->enqueue(in, out, inputs, outputs, buffers.workspace, buffers.stream);
    plugin->destroy();
    return status;
#endif
}

bool launch(ReferenceCase const& c, DeviceBuffers const& buffers)
{
    bool const shifts = c.kind == CaseKind::kSPATIAL_SHIFT;
    bool const last = c.layout == Layout::kNHWC;
    FieldList fields;
    fields.add("groups", c.groups).add("channels_last", {last ? 1 : 0});
    shifts ? fields.add("border", {c.border}) : fields.add("branches", {c.branches});
    DataType const type = typeOf(c.type);
    PluginTensorDesc const in[]{last ? describe({c.batch, c.height, c.width, c.channels}, type)
                                     : describe({c.batch, c.channels, c.height, c.width}, type),
        describe({c.batch, c.branches, c.channels / c.branches}, type)};
    char const* const name
        = shifts ? "SpatialShift" : (c.kind == CaseKind::kSHIFT_SUM ? "ShiftSum" : "ShiftSumPool");
    return enqueue(name, fields, in, in, buffers) == 0;
}
} // namespace

int main(int argc, char** argv)
{
    void* const library = argc == 3 ? dlopen(argv[2], RTLD_NOW | RTLD_LOCAL) : nullptr;
    if (library == nullptr)
    {
        std::fprintf(stderr, "pluginDeviceTest CASES LIBRARY: %s\n", argc == 3 ? dlerror() : "two arguments");
        return 1;
    }
    using GetCreators = Interface* const* (*) (int32_t&);
    int32_t count = 0;
    Interface* const* const all = reinterpret_cast<GetCreators>(dlsym(library, kENTRY))(count);
    for (int32_t at = 0; at < count; ++at)
    {
        auto* const creator = static_cast<Creator*>(all[at]);
        gCreators[creator->getPluginName()] = creator;
    }
    return runOnDevice("pluginDeviceTest", argv[1], NV_TENSORRT_MAJOR >= 9, launch);
}
