#include "options.h"

#include <s2deploy/error.h>

#include <sstream>

char const* const kUSAGE
    = "usage: cpp_pipeline MODEL.plan FOLDER [--batch N] [--top K] [--mean M,M,M] [--std S,S,S] [--scores FILE]\n"
      "FOLDER holds images (.ppm, .pgm) of the model's size, or raw samples (.bin, float32 in C order).\n";

namespace
{

std::vector<float> readFloats(std::string const& option, std::string const& text)
{
    std::vector<float> numbers;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, ',');)
    {
        std::size_t used{};
        try
        {
            numbers.push_back(std::stof(part, &used));
        }
        catch (std::logic_error const&)
        {
            used = 0;
        }
        if (used == 0 || used != part.size())
        {
            throw s2deploy::UsageError(option + " " + text + ": '" + part + "' is no number", "e.g. 0.485,0.456,0.406");
        }
    }
    return numbers;
}

int readCount(std::string const& option, std::string const& text)
{
    float const number = readFloats(option, text).at(0);
    if (number < 1 || number != static_cast<float>(static_cast<int>(number)))
    {
        throw s2deploy::UsageError(option + " " + text + " is no count", "give a whole number from 1 on");
    }
    return static_cast<int>(number);
}

} // namespace

Options readOptions(std::vector<std::string> const& arguments)
{
    Options options;
    std::vector<std::string> files;
    for (std::size_t at = 0; at < arguments.size(); ++at)
    {
        std::string const& option = arguments[at];
        if (option.rfind("--", 0) != 0)
        {
            files.push_back(option);
            continue;
        }
        if (at + 1 == arguments.size() || arguments[at + 1].empty())
        {
            throw s2deploy::UsageError(option + " has no value", kUSAGE);
        }
        std::string const& value = arguments[++at];
        if (option == "--batch")
        {
            options.batch = readCount(option, value);
        }
        else if (option == "--top")
        {
            options.top = static_cast<std::size_t>(readCount(option, value));
        }
        else if (option == "--mean")
        {
            options.mean = readFloats(option, value);
        }
        else if (option == "--std")
        {
            options.deviation = readFloats(option, value);
        }
        else if (option == "--scores")
        {
            options.scores = value;
        }
        else
        {
            throw s2deploy::UsageError("there is no option " + option, kUSAGE);
        }
    }
    if (files.size() != 2)
    {
        throw s2deploy::UsageError("a plan and a folder are needed", kUSAGE);
    }
    options.plan = files[0];
    options.folder = files[1];
    return options;
}
