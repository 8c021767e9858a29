#include "samples.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <limits>

using s2deploy::elementsOf;
using s2deploy::Shape;
using s2deploy::toString;
using s2deploy::UsageError;

namespace
{

bool isRaw(std::filesystem::path const& sample)
{
    return sample.extension() == ".bin";
}

//! A binary PPM or PGM of 8 bits: its header, and the pixels, channels innermost.
struct Image
{
    Shape shape;
    std::vector<unsigned char> pixels;
};

//! The next number of a header, after white space and comments.
std::int64_t readNumber(std::istream& file)
{
    while (std::isspace(file.peek()) || file.peek() == '#')
    {
        if (file.get() == '#')
        {
            file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
        }
    }
    std::int64_t number{-1};
    file >> number;
    return number;
}

Image readImage(std::filesystem::path const& path, bool withPixels)
{
    std::ifstream file(path, std::ios::binary);
    char const p = static_cast<char>(file.get());
    char const kind = static_cast<char>(file.get());
    std::int64_t const width = readNumber(file);
    std::int64_t const height = readNumber(file);
    std::int64_t const largest = readNumber(file);
    file.get(); // one white space ends the header
    if (!file || p != 'P' || (kind != '5' && kind != '6') || largest != 255 || width < 1 || height < 1)
    {
        throw UsageError(path.string() + " is no binary PPM or PGM of 8 bits",
            "convert it, e.g. with ImageMagick: magick IN -depth 8 OUT.ppm");
    }
    Image image{{kind == '6' ? 3 : 1, height, width}, {}};
    if (withPixels)
    {
        image.pixels.resize(elementsOf(image.shape));
        file.read(reinterpret_cast<char*>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()));
        if (!file)
        {
            throw UsageError(path.string() + " is cut off", "copy it again");
        }
    }
    return image;
}

float at(std::vector<float> const& each, std::size_t channel)
{
    return each.size() == 1 ? each[0] : each[channel];
}

} // namespace

std::vector<std::filesystem::path> listSamples(std::filesystem::path const& folder)
{
    std::vector<std::filesystem::path> samples;
    if (std::filesystem::is_directory(folder))
    {
        for (auto const& entry : std::filesystem::directory_iterator(folder))
        {
            auto const suffix = entry.path().extension();
            if (suffix == ".ppm" || suffix == ".pgm" || suffix == ".bin")
            {
                samples.push_back(entry.path());
            }
        }
    }
    if (samples.empty())
    {
        throw UsageError(folder.string() + " holds no .ppm, .pgm or .bin", kUSAGE);
    }
    std::sort(samples.begin(), samples.end());
    return samples;
}

Shape sampleShape(std::filesystem::path const& sample, Shape const& typical)
{
    return isRaw(sample) ? Shape(typical.begin() + 1, typical.end()) : readImage(sample, false).shape;
}

void readSample(std::filesystem::path const& sample, Shape const& shape, Options const& options, float* to)
{
    if (isRaw(sample))
    {
        auto const sizeBytes = elementsOf(shape) * sizeof(float);
        std::ifstream file(sample, std::ios::binary);
        if (std::filesystem::file_size(sample) != sizeBytes
            || !file.read(reinterpret_cast<char*>(to), static_cast<std::streamsize>(sizeBytes)))
        {
            throw UsageError(sample.string() + " is not " + std::to_string(sizeBytes) + " bytes, which "
                    + toString(shape) + " takes in float32",
                "write one sample a file, float32 in C order");
        }
        return;
    }
    Image const image = readImage(sample, true);
    if (image.shape != shape)
    {
        throw UsageError(sample.string() + " is " + toString(image.shape) + ", the first of the folder is "
                + toString(shape),
            "give images of one size, e.g. magick IN -resize 224x224! OUT.ppm");
    }
    auto const channels = static_cast<std::size_t>(shape[0]);
    auto const pixels = image.pixels.size() / channels;
    for (auto const* each : {&options.mean, &options.deviation})
    {
        if (each->size() != 1 && each->size() != channels)
        {
            throw UsageError("--mean or --std has " + std::to_string(each->size()) + " numbers, images have "
                    + std::to_string(channels) + " channels",
                "give one for each channel, or one for all");
        }
    }
    for (std::size_t channel = 0; channel < channels; ++channel)
    {
        for (std::size_t pixel = 0; pixel < pixels; ++pixel)
        {
            float const value = static_cast<float>(image.pixels[pixel * channels + channel]) / 255.0F;
            to[channel * pixels + pixel] = (value - at(options.mean, channel)) / at(options.deviation, channel);
        }
    }
}
