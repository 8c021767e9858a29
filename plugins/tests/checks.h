//! \file checks.h
//! Counts failed checks and prints the first of them.

#ifndef S2DEPLOY_CHECKS_H
#define S2DEPLOY_CHECKS_H

#include <cstdint>
#include <cstdio>
#include <string>

namespace s2deploy
{

inline int32_t gFailures = 0;

inline void check(bool holds, std::string const& what)
{
    constexpr int32_t kPRINTED = 20;
    if (!holds && ++gFailures <= kPRINTED)
    {
        std::fprintf(stderr, "failed: %s\n", what.c_str());
    }
}

//! \return what a test program returns
inline int finish(char const* name)
{
    std::printf("%s: %d failures\n", name, gFailures);
    return gFailures == 0 ? 0 : 1;
}

} // namespace s2deploy

#endif // S2DEPLOY_CHECKS_H
