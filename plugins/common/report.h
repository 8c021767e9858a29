//! \file report.h
//! Tells the user of a failure, and keeps exceptions inside the library.

#ifndef S2DEPLOY_REPORT_H
#define S2DEPLOY_REPORT_H

#include "tensorRt.h"

#include <exception>

namespace s2deploy
{

//! Logs an error with TensorRT's logger where there is one, else on the standard error stream.
void report(char const* where, char const* what) noexcept;

//! Returns what \p body returns; where it throws, reports and returns \p failure.
template <typename Result, typename Body>
Result guarded(char const* where, Result failure, Body const& body) noexcept
{
    try
    {
        return body();
    }
    catch (std::exception const& error)
    {
        report(where, error.what());
    }
    catch (...)
    {
        report(where, "an error of unknown type");
    }
    return failure;
}

#if S2_PLUGIN_V3
void setFinder(nvinfer1::ILoggerFinder* finder) noexcept;
#endif

} // namespace s2deploy

#endif // S2DEPLOY_REPORT_H
