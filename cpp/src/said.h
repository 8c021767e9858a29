#pragma once

#include "s2deploy/error.h"

#include <NvInferRuntime.h>

#include <string>
#include <vector>

namespace s2deploy
{

//! What TensorRT says is wrong on this thread while this lives, for the message of an exception.
//!
//! TensorRT hands the first logger it is given to plugins for as long as anything of TensorRT lives, whoever made it.
//! So there is one logger that is never freed, and it passes each message on to the thread's innermost listener.
class Said
{
public:
    Said() noexcept;
    ~Said();
    Said(Said const&) = delete;
    Said& operator=(Said const&) = delete;

    //! Returns what happened in TensorRT's own words, which are then forgotten.
    //!
    //! \param doing What TensorRT does, e.g. "cannot start".
    std::string words(std::string const& doing);

    //! Returns the same as an exception.
    Error failed(std::string const& doing);

    //! The logger to give to TensorRT.
    static nvinfer1::ILogger& logger();

private:
    class Logger;
    static thread_local Said* tInnermost;

    Said* const mOuter;
    std::vector<std::string> mErrors;
};

} // namespace s2deploy
