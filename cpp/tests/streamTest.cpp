#include "check.h"
#include "fakeCuda.h"
#include "fakeTensorRT.h"
#include "gpu.h"
#include "plans.h"

using namespace s2deploy;
using test::CallersStream;
using test::DeviceFloats;
using test::isDoubled;
using test::PinnedFloats;
using test::values;

namespace
{

void usesMemoryOfTheDeviceInPlace()
{
    Engine const engine = test::load();
    auto const x = values(3);
    DeviceFloats const input(x);
    DeviceFloats const output(12);
    CallersStream const stream;
    int const copies = fake::calls("cudaMemcpyAsync");
    Shapes const shapes = engine.run({{"x", input.input({3, 4})}}, {{"y", output.output()}}, stream.get());
    EXPECT(shapes.at("y") == (Shape{3, 4}));
    EXPECT(!isDoubled(output.read(), x)); // nobody waited yet
    stream.wait();
    EXPECT(isDoubled(output.read(), x));
    EXPECT_EQUAL(fake::calls("cudaMemcpyAsync") - copies, 2); // those of read()
}

void copiesWhatIsNotAligned()
{
    Engine const engine = test::load();
    auto const x = values(3);
    DeviceFloats const input(x, 1);
    DeviceFloats const output(12, 3);
    CallersStream const stream;
    engine.run({{"x", input.input({3, 4})}}, {{"y", output.output()}}, stream.get());
    stream.wait();
    EXPECT(isDoubled(output.read(), x));
    EXPECT(isDoubled(engine.run({{"x", input.input({3, 4})}}).at("y"), x));
}

void keepsTheOrderOfTheCallersStream()
{
    Engine const engine = test::load();
    auto const x = values(8);
    DeviceFloats const once(32);
    DeviceFloats const twice(32);
    PinnedFloats const source(x);
    PinnedFloats const result(std::vector<float>(32));
    CallersStream const stream;
    DeviceFloats const input(32);
    // What the stream was given before comes before, and what it is given later comes after.
    cudaMemcpyAsync(input.get(), source.get(), input.sizeBytes(), cudaMemcpyHostToDevice, stream.get());
    engine.run({{"x", input.input({8, 4})}}, {{"y", once.output()}}, stream.get());
    engine.run({{"x", once.input({8, 4})}}, {{"y", twice.output()}}, stream.get());
    cudaMemcpyAsync(result.get(), twice.get(), twice.sizeBytes(), cudaMemcpyDeviceToHost, stream.get());
    fake::hurryOthers(stream.get());
    stream.wait();
    EXPECT_EQUAL(result.get()[0], 4 * x[0]);
    EXPECT_EQUAL(result.get()[31], 4 * x[31]);
    EXPECT_EQUAL(fake::contextsAlive(), 1); // one stream needs one
}

void takesMemoryOfTheHost()
{
    Engine const engine = test::load();
    auto const x = values(2);
    PinnedFloats const input(x);
    PinnedFloats const output(std::vector<float>(8));
    CallersStream const stream;
    engine.run({{"x", input.input({2, 4})}}, {{"y", output.output()}}, stream.get());
    EXPECT(output.get()[0] != 2 * x[0]);
    stream.wait();
    EXPECT_EQUAL(output.get()[0], 2 * x[0]);
    EXPECT_EQUAL(output.get()[7], 2 * x[7]);
    // The default stream is one as well.
    std::fill_n(output.get(), 8, 0.0F);
    engine.run({{"x", input.input({2, 4})}}, {{"y", output.output()}}, nullptr);
    cudaStreamSynchronize(nullptr);
    EXPECT_EQUAL(output.get()[7], 2 * x[7]);
}

void spreadsStreamsOverContexts()
{
    Engine const engine = test::load();
    std::size_t const streams = 6;
    std::vector<CallersStream> const callers(streams);
    std::vector<std::unique_ptr<DeviceFloats>> inputs;
    std::vector<std::unique_ptr<DeviceFloats>> outputs;
    for (std::size_t at = 0; at < streams; ++at)
    {
        inputs.push_back(std::make_unique<DeviceFloats>(std::vector<float>(4, static_cast<float>(at))));
        outputs.push_back(std::make_unique<DeviceFloats>(std::size_t{4}));
    }
    for (int round = 0; round < 2; ++round)
    {
        for (std::size_t at = 0; at < streams; ++at)
        {
            engine.run({{"x", inputs[at]->input({1, 4})}}, {{"y", outputs[at]->output()}}, callers[at].get());
        }
    }
    EXPECT_EQUAL(fake::contextsAlive(), test::kPROFILES_ARE_EXCLUSIVE ? 1 : 4);
    for (std::size_t at = streams; at-- > 0;)
    {
        callers[at].wait();
        EXPECT(isDoubled(outputs[at]->read(), std::vector<float>(4, static_cast<float>(at))));
    }
}

void waitsForWorkUnderWayWhenItGoes()
{
    auto const x = values(2);
    DeviceFloats const input(x);
    DeviceFloats const output(8);
    CallersStream const stream;
    {
        Engine const engine = test::load();
        engine.run({{"x", input.input({2, 4})}}, {{"y", output.output()}}, stream.get());
    }
    EXPECT(isDoubled(output.read(), x));
    EXPECT_EQUAL(fake::contextsAlive(), 0);
}

void canBeMoved()
{
    auto const x = values(1);
    Engine first = test::load();
    Engine second = std::move(first);
    EXPECT(isDoubled(second.run({{"x", hostInput(x, {1, 4})}}).at("y"), x));
    second = test::load({{"inputs", {{"x", {1, 4}}}}});
    EXPECT_EQUAL(toString(second.inputs().at(0).shape), "1x4");
}

void outlivesTheEngineLoadedFirst()
{
    auto first = std::make_unique<Engine>(test::load());
    Engine const second = test::load();
    first.reset();
    auto const x = values(1);
    fake::setRunsFail(true); // TensorRT says so to the logger it was given first
    EXPECT_THROW(Error, "the kernel fell over", second.run({{"x", hostInput(x, {1, 4})}}));
    fake::setRunsFail(false);
}

void leavesNothingBehind()
{
    EXPECT(fake::alive() == fake::Alive{});
    EXPECT_EQUAL(fake::contextsAlive(), 0);
}

} // namespace

int main()
{
    return test::run(usesMemoryOfTheDeviceInPlace, copiesWhatIsNotAligned, keepsTheOrderOfTheCallersStream,
        takesMemoryOfTheHost, spreadsStreamsOverContexts, waitsForWorkUnderWayWhenItGoes, canBeMoved,
        outlivesTheEngineLoadedFirst, leavesNothingBehind);
}
