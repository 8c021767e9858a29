//! \file library.cpp
//! What the library exports. TensorRT 10 and later: getCreators and setLoggerFinder. 8.6 and 9: getPluginCreators. 8.5
//! has no registry function that loads a library, so there the creators register when the library is loaded.

#include "report.h"
#include "shiftSumPlugin.h"
#include "shiftSumPoolPlugin.h"
#include "spatialShiftPlugin.h"
#include "tensorRt.h"

#include <array>

#if S2_PLUGIN_V3
#include "pluginV3.h"
#else
#include "pluginV2.h"

#include <dlfcn.h>
#endif

#define S2_EXPORT extern "C" __attribute__((visibility("default")))

namespace s2deploy
{
namespace
{
#if S2_PLUGIN_V3
using Creator = PluginCreatorV3;
using CreatorInterface = nvinfer1::IPluginCreatorInterface;
#else
using Creator = PluginCreatorV2;
using CreatorInterface = nvinfer1::IPluginCreator;
#endif

template <typename Kind>
OperationKind kindOf()
{
    return OperationKind{Kind::kNAME, Kind::kATTRIBUTES, [](Attributes attributes) -> std::unique_ptr<Operation> {
                             return std::make_unique<Kind>(std::move(attributes));
                         }};
}

CreatorInterface* const* creators(int32_t& count) noexcept
{
    static Creator spatialShift{kindOf<SpatialShift>()};
    static Creator shiftSum{kindOf<ShiftSum>()};
    static Creator shiftSumPool{kindOf<ShiftSumPool>()};
    static std::array<CreatorInterface*, 3> const all{&spatialShift, &shiftSum, &shiftSumPool};
    count = static_cast<int32_t>(all.size());
    return all.data();
}
} // namespace
} // namespace s2deploy

//! What a caller can ask before it hands the library to TensorRT.
S2_EXPORT int32_t s2deployOperatorVersion()
{
    return s2deploy::kVERSION[0] - '0';
}

S2_EXPORT int32_t s2deployTensorRtMajor()
{
    return NV_TENSORRT_MAJOR;
}

#if S2_PLUGIN_V3

S2_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& nbCreators)
{
    return s2deploy::creators(nbCreators);
}

S2_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder)
{
    s2deploy::setFinder(finder);
}

#else

S2_EXPORT nvinfer1::IPluginCreator* const* getPluginCreators(int32_t& nbCreators)
{
    return s2deploy::creators(nbCreators);
}

#if NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR < 6
namespace
{
//! Registers with the TensorRT that the process has loaded. It is looked up and not linked, so that the library needs
//! TensorRT's headers alone; without TensorRT in the process nothing happens.
struct Registration
{
    Registration()
    {
        using GetRegistry = nvinfer1::IPluginRegistry* (*) ();
        void* symbol = dlsym(RTLD_DEFAULT, "getPluginRegistry");
        if (symbol == nullptr)
        {
            void* const loaded = dlopen("libnvinfer.so.8", RTLD_LAZY | RTLD_NOLOAD);
            symbol = loaded == nullptr ? nullptr : dlsym(loaded, "getPluginRegistry");
        }
        nvinfer1::IPluginRegistry* const registry
            = symbol == nullptr ? nullptr : reinterpret_cast<GetRegistry>(symbol)();
        if (registry == nullptr)
        {
            return;
        }
        int32_t count = 0;
        nvinfer1::IPluginCreator* const* const all = s2deploy::creators(count);
        for (int32_t at = 0; at < count; ++at)
        {
            if (!registry->registerCreator(*all[at], s2deploy::kNAMESPACE))
            {
                s2deploy::report(all[at]->getPluginName(), "TensorRT has a creator of this name already");
            }
        }
    }
};

Registration const gRegistration;
} // namespace
#endif
#endif
