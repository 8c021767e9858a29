#include "report.h"

#include <atomic>
#include <cstdio>

namespace s2deploy
{
namespace
{
#if S2_PLUGIN_V3
std::atomic<nvinfer1::ILoggerFinder*> gFinder{nullptr};

nvinfer1::ILogger* findLogger()
{
    nvinfer1::ILoggerFinder* const finder = gFinder.load();
    return finder == nullptr ? nullptr : finder->findLogger();
}
#else
nvinfer1::ILogger* findLogger()
{
    return nullptr; // before TensorRT 10 a library is not told of one
}
#endif
} // namespace

#if S2_PLUGIN_V3
void setFinder(nvinfer1::ILoggerFinder* finder) noexcept
{
    gFinder.store(finder);
}
#endif

void report(char const* where, char const* what) noexcept
{
    char message[512];
    std::snprintf(message, sizeof(message), "s2deploy plugin %s: %s", where, what);
    try
    {
        if (nvinfer1::ILogger* const logger = findLogger())
        {
            logger->log(nvinfer1::ILogger::Severity::kERROR, message);
            return;
        }
    }
    catch (...)
    {
        // A finder that throws leaves the standard error stream.
    }
    std::fprintf(stderr, "%s\n", message);
}

} // namespace s2deploy
