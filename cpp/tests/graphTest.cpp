#include "check.h"
#include "fakeCuda.h"
#include "fakeTensorRT.h"
#include "gpu.h"
#include "plans.h"

using namespace s2deploy;
using test::isDoubled;
using test::values;

namespace
{

Engine loadWithGraphs(test::json const& plan = test::plan())
{
    LoadOptions options;
    options.cudaGraphs = true;
    return test::load(plan, test::json::object(), options);
}

void check(Engine const& engine, std::size_t rows)
{
    auto const x = values(rows);
    EXPECT(isDoubled(engine.run({{"x", hostInput(x, {static_cast<std::int64_t>(rows), 4})}}).at("y"), x));
}

void capturesEachShapeOnce()
{
    Engine const engine = loadWithGraphs({{"inputs", {{"x", {2, 4}}}}});
    int const captured = fake::calls("cudaGraphInstantiateWithFlags");
    int const launched = fake::calls("cudaGraphLaunch");
    for (int call = 0; call < 3; ++call)
    {
        check(engine, 2);
    }
    EXPECT_EQUAL(fake::calls("cudaGraphInstantiateWithFlags") - captured, 1);
    EXPECT_EQUAL(fake::calls("cudaGraphLaunch") - launched, 2); // the first call ran without
}

void keepsTheGraphsUsedLast()
{
    Engine const engine
        = loadWithGraphs(test::plan({{"profiles", {{{"x", {{1, 4}, {2, 4}, {16, 4}}}}}}}));
    std::size_t const kept = test::kPROFILES_ARE_EXCLUSIVE ? 1 : 8;
    for (std::size_t rows = 1; rows <= 9; ++rows)
    {
        check(engine, rows);
        EXPECT_EQUAL(fake::alive().graphs, std::min(rows, kept));
        EXPECT_EQUAL(static_cast<std::size_t>(fake::contextsAlive()), std::min(rows, kept));
    }
    int const captured = fake::calls("cudaGraphInstantiateWithFlags");
    check(engine, 9);
    EXPECT_EQUAL(fake::calls("cudaGraphInstantiateWithFlags"), captured);
    check(engine, 2); // the one unused for longest, after 1, which made room for 9
    check(engine, 1); // went, and 3 goes for it
    EXPECT_EQUAL(fake::calls("cudaGraphInstantiateWithFlags") - captured, test::kPROFILES_ARE_EXCLUSIVE ? 2 : 1);
    check(engine, 3);
    EXPECT_EQUAL(fake::calls("cudaGraphInstantiateWithFlags") - captured, test::kPROFILES_ARE_EXCLUSIVE ? 3 : 2);
}

void readsAndWritesWhereTheGraphDoes()
{
    Engine const engine = loadWithGraphs();
    test::CallersStream const stream;
    int const launched = fake::calls("cudaGraphLaunch");
    for (std::size_t call = 0; call < 3; ++call) // from other memory each time
    {
        auto x = values(2);
        x[0] = static_cast<float>(call);
        test::DeviceFloats const input(x);
        test::DeviceFloats const output(8);
        engine.run({{"x", input.input({2, 4})}}, {{"y", output.output()}}, stream.get());
        stream.wait();
        EXPECT(isDoubled(output.read(), x));
    }
    EXPECT_EQUAL(fake::calls("cudaGraphLaunch") - launched, 2);
}

void runsWithoutWhereItCannotCapture()
{
    fake::setCapturable(false);
    {
        Engine const engine = loadWithGraphs();
        check(engine, 2);
        check(engine, 2);
    }
    fake::setCapturable(true);
    Engine const engine = loadWithGraphs(test::plan({{"kind", "positive"}}));
    check(engine, 2);
    check(engine, 2);
    EXPECT_EQUAL(fake::alive().graphs, 0U);
}

void leavesNothingBehind()
{
    EXPECT(fake::alive() == fake::Alive{});
    EXPECT_EQUAL(fake::contextsAlive(), 0);
}

} // namespace

int main()
{
    return test::run(capturesEachShapeOnce, keepsTheGraphsUsedLast, readsAndWritesWhereTheGraphDoes,
        runsWithoutWhereItCannotCapture, leavesNothingBehind);
}
