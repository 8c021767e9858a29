#pragma once

#include <stdexcept>
#include <string>

namespace s2deploy
{

//! Everything this library throws.
//!
//!     Error                       TensorRT or CUDA failed
//!      +-- UsageError             the call is wrong: a name, a shape, a type, a buffer
//!      +-- ArtifactError          the plan, its sidecar or a plugin library is missing, damaged or not what belongs together
//!      +-- TargetUnavailableError this machine's TensorRT or GPU is not what the plan was built for
//!
//! what() says what happened and, on a line of its own, what to do next.
class Error : public std::runtime_error
{
public:
    Error(std::string const& message, std::string const& hint)
        : std::runtime_error(message + "\nhint: " + hint)
        , mHint(hint)
    {
    }

    //! What to do next.
    std::string const& hint() const noexcept
    {
        return mHint;
    }

private:
    std::string mHint;
};

class UsageError : public Error
{
public:
    using Error::Error;
};

class ArtifactError : public Error
{
public:
    using Error::Error;
};

class TargetUnavailableError : public Error
{
public:
    using Error::Error;
};

} // namespace s2deploy
