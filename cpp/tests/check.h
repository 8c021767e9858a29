#pragma once

#include <cstdlib>
#include <exception>
#include <iostream>
#include <sstream>
#include <string>
#include <typeinfo>

//! \file What the tests need of a framework: each is a program that ends with status 1 where anything was not as it should.

namespace test
{

inline int& failures()
{
    static int count{};
    return count;
}

inline void fail(char const* file, int line, std::string const& what)
{
    std::cerr << file << ":" << line << ": " << what << "\n";
    ++failures();
}

template <typename A, typename B>
void equal(char const* file, int line, char const* text, A const& a, B const& b)
{
    if (!(a == b))
    {
        std::ostringstream what;
        what << text << " is " << a << ", not " << b;
        fail(file, line, what.str());
    }
}

inline void contains(char const* file, int line, std::string const& text, std::string const& part)
{
    if (text.find(part) == std::string::npos)
    {
        fail(file, line, "\"" + text + "\" has no \"" + part + "\"");
    }
}

//! Runs a function that should throw, and returns what the exception says.
template <typename Expected, typename Function>
std::string message(char const* file, int line, Function const& function)
{
    try
    {
        function();
    }
    catch (Expected const& error)
    {
        return error.what();
    }
    catch (std::exception const& error)
    {
        fail(file, line, std::string("another exception: ") + typeid(error).name() + ": " + error.what());
        return {};
    }
    fail(file, line, "nothing was thrown");
    return {};
}

template <typename... Tests>
int run(Tests const&... tests)
{
    (tests(), ...);
    return failures() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

} // namespace test

#define EXPECT(what)                                                                                                   \
    do                                                                                                                 \
    {                                                                                                                  \
        if (!(what))                                                                                                   \
        {                                                                                                              \
            test::fail(__FILE__, __LINE__, "not so: " #what);                                                          \
        }                                                                                                              \
    } while (false)
#define EXPECT_EQUAL(a, b) test::equal(__FILE__, __LINE__, #a, a, b)
#define EXPECT_THROW(Expected, part, ...)                                                                              \
    test::contains(__FILE__, __LINE__, test::message<Expected>(__FILE__, __LINE__, [&] { static_cast<void>(__VA_ARGS__); }), part)
