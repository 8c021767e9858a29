#include "check.h"
#include "fakeCuda.h"
#include "fakeTensorRT.h"
#include "plans.h"

#include <atomic>
#include <thread>

using namespace s2deploy;

namespace
{

constexpr int kTHREADS = 8;
constexpr int kCALLS = 60;

//! Calls an engine from many threads, and returns how many calls gave the right outputs.
int callFromManyThreads(Engine const& engine)
{
    std::atomic<int> right{};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kTHREADS; ++thread)
    {
        threads.emplace_back([&engine, &right, thread] {
            for (int call = 0; call < kCALLS; ++call)
            {
                auto x = test::values(static_cast<std::size_t>(1 + (thread + call) % 8));
                x[0] = static_cast<float>(thread * kCALLS + call);
                Shape const shape{static_cast<std::int64_t>(x.size()) / 4, 4};
                right += test::isDoubled(engine.run({{"x", hostInput(x, shape)}}).at("y"), x);
            }
        });
    }
    for (std::thread& thread : threads)
    {
        thread.join();
    }
    return right;
}

//! The stand-in stops the test where two threads use a context at once.
void givesEveryThreadAContext()
{
    int const before = fake::contextsMade();
    Engine const engine = test::load();
    EXPECT_EQUAL(callFromManyThreads(engine), kTHREADS * kCALLS);
    int const most = test::kPROFILES_ARE_EXCLUSIVE ? 1 : kTHREADS;
    EXPECT(fake::contextsMade() - before >= 1);
    EXPECT(fake::contextsMade() - before <= most);
}

void sharesProfilesOfFixedShapes()
{
    Engine const engine = test::load({{"inputs", {{"x", {1, 4}}}}});
    std::vector<std::thread> threads;
    std::atomic<int> right{};
    for (int thread = 0; thread < kTHREADS; ++thread)
    {
        threads.emplace_back([&engine, &right] {
            auto const x = test::values(1);
            right += test::isDoubled(engine.run({{"x", hostInput(x, {1, 4})}}).at("y"), x);
        });
    }
    for (std::thread& thread : threads)
    {
        thread.join();
    }
    EXPECT_EQUAL(right, kTHREADS);
}

void capturesGraphsInEveryThread()
{
    LoadOptions options;
    options.cudaGraphs = true;
    Engine const engine = test::load(test::plan(), test::json::object(), options);
    EXPECT_EQUAL(callFromManyThreads(engine), kTHREADS * kCALLS);
}

void leavesNothingBehind()
{
    EXPECT(fake::alive() == fake::Alive{});
    EXPECT_EQUAL(fake::contextsAlive(), 0);
}

} // namespace

int main()
{
    return test::run(
        givesEveryThreadAContext, sharesProfilesOfFixedShapes, capturesGraphsInEveryThread, leavesNothingBehind);
}
