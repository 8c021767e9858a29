#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

//! The command line.
struct Options
{
    std::filesystem::path plan;
    std::filesystem::path folder;
    //! Samples of a batch; 0 for as many as the plan was tuned for.
    std::int64_t batch{};
    //! Classes printed for each sample.
    std::size_t top{5};
    //! Subtracted from channels of 0 to 1, which are then divided; one for each channel, or one for all.
    std::vector<float> mean{0.0F};
    std::vector<float> deviation{1.0F};
    //! Where all scores go as float32, sample by sample; nowhere if empty.
    std::filesystem::path scores;
};

extern char const* const kUSAGE;

//! \throws s2deploy::UsageError An option is unknown or has no proper value.
Options readOptions(std::vector<std::string> const& arguments);
