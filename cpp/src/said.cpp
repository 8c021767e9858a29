#include "said.h"

#include "library.h"

namespace s2deploy
{

thread_local Said* Said::tInnermost{};

class Said::Logger : public nvinfer1::ILogger
{
public:
    void log(Severity severity, nvinfer1::AsciiChar const* message) noexcept override
    try
    {
        if (tInnermost != nullptr && severity <= Severity::kERROR)
        {
            tInnermost->mErrors.emplace_back(message);
        }
    }
    catch (...) // no memory for a message: the exception that follows is shorter
    {
    }
};

Said::Said() noexcept
    : mOuter(tInnermost)
{
    tInnermost = this;
}

Said::~Said()
{
    tInnermost = mOuter;
}

std::string Said::words(std::string const& doing)
{
    std::string text;
    for (std::string const& error : mErrors)
    {
        text += "\n  " + error;
    }
    mErrors.clear();
    return "TensorRT " + libraryVersion() + " " + doing + "; it says:" + (text.empty() ? "\n  nothing" : text);
}

Error Said::failed(std::string const& doing)
{
    return {words(doing), "nvidia-smi shows whether driver and GPU are as they should be"};
}

nvinfer1::ILogger& Said::logger()
{
    static auto& logger = *new Logger;
    return logger;
}

} // namespace s2deploy
