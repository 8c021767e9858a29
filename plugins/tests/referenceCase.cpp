#include "referenceCase.h"

#include <fstream>

namespace s2deploy
{
namespace
{
constexpr int32_t kMAGIC = 0x53324443;
constexpr int32_t kHEADER = 15;

template <typename T>
bool readMany(std::ifstream& file, std::vector<T>& values, int32_t count)
{
    values.resize(static_cast<size_t>(count));
    file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
    return static_cast<bool>(file);
}

bool readCase(std::ifstream& file, ReferenceCase& c)
{
    std::vector<int32_t> header;
    if (!readMany(file, header, kHEADER))
    {
        return false;
    }
    c.kind = static_cast<CaseKind>(header[0]);
    c.type = static_cast<ElementType>(header[1]);
    c.layout = static_cast<Layout>(header[2]);
    c.border = header[3];
    c.branches = header[4];
    c.batch = header[5];
    c.channels = header[6];
    c.height = header[7];
    c.width = header[8];
    c.misalignment = header[9];
    c.accepted = header[10];
    return readMany(file, c.groups, header[11]) && readMany(file, c.x, header[12]) && readMany(file, c.w, header[13])
        && readMany(file, c.expected, header[14]);
}
} // namespace

std::string ReferenceCase::text() const
{
    std::string result = "kind " + std::to_string(static_cast<int32_t>(kind)) + ", type "
        + std::to_string(static_cast<int32_t>(type)) + ", layout " + std::to_string(static_cast<int32_t>(layout))
        + ", border " + std::to_string(border) + ", branches " + std::to_string(branches) + ", N C H W "
        + std::to_string(batch) + " " + std::to_string(channels) + " " + std::to_string(height) + " "
        + std::to_string(width) + ", misaligned by " + std::to_string(misalignment) + ", groups";
    for (int32_t const value : groups)
    {
        result += " " + std::to_string(value);
    }
    return result;
}

std::vector<ReferenceCase> readCases(char const* path)
{
    std::ifstream file(path, std::ios::binary);
    std::vector<int32_t> start;
    if (!readMany(file, start, 2) || start[0] != kMAGIC)
    {
        return {};
    }
    std::vector<ReferenceCase> cases(static_cast<size_t>(start[1]));
    for (ReferenceCase& c : cases)
    {
        if (!readCase(file, c))
        {
            return {};
        }
    }
    return cases;
}

} // namespace s2deploy
