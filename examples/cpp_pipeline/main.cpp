//! \file Classifies a folder of images, or of raw samples: reads the next batch while the GPU works on the last one.

#include "options.h"
#include "samples.h"
#include "slot.h"

#include <s2deploy/engine.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <numeric>

using s2deploy::DataType;
using s2deploy::elementsOf;
using s2deploy::Engine;
using s2deploy::Memory;
using s2deploy::Shape;
using s2deploy::TensorInfo;
using s2deploy::UsageError;

namespace
{

//! The only input and the first output of a plan, as this example needs them.
struct Model
{
    Engine const& engine;
    TensorInfo const& input;
    TensorInfo const& output;
    s2deploy::Range const& range;
};

Model describe(Engine const& engine)
{
    TensorInfo const& input = engine.inputs().front();
    TensorInfo const& output = engine.outputs().front();
    if (engine.inputs().size() != 1 || engine.outputs().size() != 1 || input.type != DataType::kFLOAT32
        || output.type != DataType::kFLOAT32 || input.shape.empty() || output.shape.size() < 2)
    {
        throw UsageError("the plan does not classify: one float32 input N x ... and one float32 output N x classes",
            "call s2deploy::Engine as your model needs it");
    }
    return {engine, input, output, engine.profiles().front().at(input.name)};
}

Shape withBatch(std::int64_t batch, Shape shape)
{
    shape.insert(shape.begin(), batch);
    return shape;
}

//! Gives the samples of a slot to the GPU and does not wait.
void start(Model const& model, Slot& slot, Shape const& sample, Options const& options)
{
    // A plan may take no fewer than some number of samples; what stands in their place then is ignored.
    auto const batch = std::max(static_cast<std::int64_t>(slot.samples.size()), model.range.min[0]);
    std::size_t const size = elementsOf(sample);
    std::fill_n(slot.input.get(), size * static_cast<std::size_t>(batch), 0.0F);
    for (std::size_t at = 0; at < slot.samples.size(); ++at)
    {
        readSample(slot.samples[at], sample, options, slot.input.get() + at * size);
    }
    Shape const shape = withBatch(batch, sample);
    model.engine.run({{model.input.name, {slot.input.get(), DataType::kFLOAT32, shape, Memory::kHOST}}},
        {{model.output.name, {slot.output.get(), slot.output.sizeBytes(), Memory::kHOST}}}, slot.stream());
}

//! Waits for a slot, and prints the best classes of its samples.
void finish(Slot& slot, std::size_t classes, Options const& options, std::ofstream& scores)
{
    slot.wait();
    for (std::size_t at = 0; at < slot.samples.size(); ++at)
    {
        float const* const values = slot.output.get() + at * classes;
        std::vector<std::size_t> order(classes);
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::stable_sort(
            order.begin(), order.end(), [values](std::size_t a, std::size_t b) { return values[a] > values[b]; });
        std::printf("%s", slot.samples[at].filename().string().c_str());
        for (std::size_t best = 0; best < std::min(options.top, classes); ++best)
        {
            std::printf("  %zu:%.6g", order[best], static_cast<double>(values[order[best]]));
        }
        std::printf("\n");
        scores.write(reinterpret_cast<char const*>(values), static_cast<std::streamsize>(classes * sizeof(float)));
    }
    slot.samples.clear();
}

void classify(Model const& model, Options const& options)
{
    auto const samples = listSamples(options.folder);
    auto const batch = options.batch > 0 ? options.batch : model.range.opt[0];
    if (batch < model.range.min[0] || batch > model.range.max[0])
    {
        throw UsageError("the plan takes batches of " + std::to_string(model.range.min[0]) + " to "
                + std::to_string(model.range.max[0]),
            "give --batch in that range");
    }
    Shape const sample = sampleShape(samples.front(), model.range.opt);
    Shape const shape = withBatch(batch, sample);
    auto const outputs = elementsOf(model.engine.outputShapes({{model.input.name, shape}}).at(model.output.name));
    auto const count = static_cast<std::size_t>(batch);
    std::array<Slot, 2> slots{Slot{elementsOf(shape), outputs}, Slot{elementsOf(shape), outputs}};
    std::ofstream scores;
    if (!options.scores.empty())
    {
        scores.open(options.scores, std::ios::binary);
    }
    std::size_t number = 0;
    for (std::size_t first = 0; first < samples.size(); first += count, ++number)
    {
        Slot& slot = slots[number % slots.size()];
        finish(slot, outputs / count, options, scores);
        auto const last = std::min(first + count, samples.size());
        slot.samples.assign(samples.data() + first, samples.data() + last);
        start(model, slot, sample, options);
    }
    for (std::size_t left = 0; left < slots.size(); ++left, ++number)
    {
        finish(slots[number % slots.size()], outputs / count, options, scores);
    }
    if (!options.scores.empty() && !scores.flush())
    {
        throw UsageError("cannot write " + options.scores.string(), "check the path and the space left");
    }
}

} // namespace

int main(int argc, char** argv)
try
{
    Options const options = readOptions({argv + 1, argv + argc});
    auto const begin = std::chrono::steady_clock::now();
    Engine const engine = Engine::load(options.plan);
    std::fprintf(stderr, "%s\n", engine.backend().c_str());
    classify(describe(engine), options);
    std::chrono::duration<double> const seconds = std::chrono::steady_clock::now() - begin;
    std::fprintf(stderr, "%.2f s, loading included\n", seconds.count());
    return 0;
}
catch (UsageError const& error)
{
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
}
catch (std::exception const& error)
{
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
