#include "check.h"
#include "fakeCuda.h"
#include "fakeTensorRT.h"
#include "plans.h"

using namespace s2deploy;
using test::isDoubled;
using test::json;
using test::values;

namespace
{

json const kTWO_PROFILES{{"profiles", {{{"x", {{1, 4}, {1, 4}, {2, 4}}}}, {{"x", {{2, 4}, {8, 4}, {8, 4}}}}}}};

void tellsNamesShapesTypesAndProfiles()
{
    Engine const engine = test::load(test::plan(kTWO_PROFILES));
    EXPECT_EQUAL(engine.inputs().at(0).name, "x");
    EXPECT_EQUAL(toString(engine.inputs().at(0).shape), "?x4");
    EXPECT(engine.inputs().at(0).type == DataType::kFLOAT32);
    EXPECT_EQUAL(engine.outputs().at(0).name, "y");
    EXPECT_EQUAL(engine.profiles().size(), 2U);
    EXPECT_EQUAL(toString(engine.profiles().at(1).at("x").opt), "8x4");
    Engine const fixed = test::load({{"inputs", {{"x", {2, 4}}}}});
    EXPECT_EQUAL(toString(fixed.profiles().at(0).at("x").max), "2x4");
}

void choosesTheNearestProfile()
{
    Engine const engine = test::load(test::plan(kTWO_PROFILES));
    EXPECT_EQUAL(engine.chooseProfile({{"x", {1, 4}}}), 0U);
    EXPECT_EQUAL(engine.chooseProfile({{"x", {2, 4}}}), 1U); // (8 - 2) / 8 is less than (2 - 1) / 1
    EXPECT_EQUAL(engine.chooseProfile({{"x", {7, 4}}}), 1U);
    EXPECT_THROW(UsageError,
        "no optimization profile of the plan takes x 9x4; it has:\n  profile 0: x 1x4 to 2x4\n  profile 1: x 2x4 to 8x4",
        engine.chooseProfile({{"x", {9, 4}}}));
    EXPECT_THROW(UsageError, "takes x 0x4", engine.chooseProfile({{"x", {0, 4}}}));
}

void runsOnTheHost()
{
    Engine const engine = test::load(test::plan(kTWO_PROFILES));
    for (std::size_t const rows : {1U, 2U, 7U, 8U, 1U})
    {
        auto const x = values(rows);
        Shape const shape{static_cast<std::int64_t>(rows), 4};
        Tensors const outputs = engine.run({{"x", hostInput(x, shape)}});
        EXPECT(isDoubled(outputs.at("y"), x));
        EXPECT(outputs.at("y").shape == shape);
        EXPECT(engine.outputShapes({{"x", shape}}).at("y") == shape);
    }
    EXPECT_EQUAL(fake::contextsAlive(), 1);
}

void runsOnNothing()
{
    Engine const engine = test::load(test::plan({{"profiles", {{{"x", {{0, 4}, {1, 4}, {1, 4}}}}}}}));
    Tensors const outputs = engine.run({{"x", hostInput(std::vector<float>{}, {0, 4})}});
    EXPECT(outputs.at("y").shape == (Shape{0, 4}));
    EXPECT(outputs.at("y").bytes.empty());
}

void returnsOutputsWhoseShapeTheValuesDecide()
{
    Engine const engine = test::load(test::plan({{"kind", "positive"}}));
    for (std::size_t const rows : {1U, 8U, 2U})
    {
        auto const x = values(rows);
        Tensors const outputs = engine.run({{"x", hostInput(x, {static_cast<std::int64_t>(rows), 4})}});
        EXPECT(isDoubled(outputs.at("y"), x));
        EXPECT(outputs.at("positive").shape == (Shape{static_cast<std::int64_t>(rows * 4 - 4)}));
        EXPECT_EQUAL(outputs.at("positive").bytes.size(), (rows * 4 - 4) * sizeof(float));
        if (rows > 1)
        {
            EXPECT_EQUAL(outputs.at("positive").as<float>()[0], 0.5F);
        }
    }
    EXPECT_EQUAL(toString(engine.outputShapes({{"x", {2, 4}}}).at("positive")), "?");
    std::vector<float> y(8);
    auto const x = values(2);
    Output const output{y.data(), y.size() * sizeof(float), Memory::kHOST};
    EXPECT_THROW(UsageError, "the values decide the shape of output 'positive'",
        engine.run({{"x", hostInput(x, {2, 4})}}, {{"y", output}, {"positive", output}}, nullptr));
}

void saysWhatIsWrongWithACall()
{
    Engine const engine = test::load();
    auto const x = values(2);
    Input const input = hostInput(x, {2, 4});
    EXPECT_THROW(UsageError, "there is no input 'z'\nhint: the inputs are x ?x4 float32", engine.run({{"x", input}, {"z", input}}));
    EXPECT_THROW(UsageError, "input 'x' is missing", engine.run({}));
    EXPECT_THROW(UsageError, "input 'x' has 2 axes (x ?x4 float32), it is given the shape 4", engine.run({{"x", hostInput(std::vector<float>(4), {4})}}));
    EXPECT_THROW(UsageError, "axis 1 has size 8, the plan takes x ?x4", engine.run({{"x", hostInput(x, {1, 8})}}));
    EXPECT_THROW(UsageError, "axis 0 has size -1", engine.outputShapes({{"x", {-1, 4}}}));
    EXPECT_THROW(UsageError, "input 'x' is float32 but the elements are int32",
        engine.run({{"x", hostInput(std::vector<std::int32_t>(8), {2, 4})}}));
    EXPECT_THROW(UsageError, "has no memory", engine.run({{"x", {nullptr, DataType::kFLOAT32, {2, 4}}}}));
    EXPECT_THROW(UsageError, "8 values are given for the shape 3x4", hostInput(x, {3, 4}));
    EXPECT_THROW(UsageError, "the tensor holds float32, not int64", engine.run({{"x", input}}).at("y").as<std::int64_t>());
    std::vector<float> y(8);
    EXPECT_THROW(UsageError, "output 'y' is missing", engine.run({{"x", input}}, {}, nullptr));
    EXPECT_THROW(UsageError, "output 'y' needs 32 bytes for 2x4, it is given 28",
        engine.run({{"x", input}}, {{"y", {y.data(), 28}}}, nullptr));
    EXPECT_THROW(UsageError, "it is given 0", engine.run({{"x", input}}, {{"y", {nullptr, 32}}}, nullptr));
    EXPECT(isDoubled(engine.run({{"x", input}}).at("y"), x));
}

void recoversFromAFailure()
{
    Engine const engine = test::load();
    auto const x = values(2);
    Inputs const inputs{{"x", hostInput(x, {2, 4})}};
    fake::setRunsFail(true);
    EXPECT_THROW(Error, "failed to run; it says:\n  the kernel fell over\nhint: nvidia-smi", engine.run(inputs));
    fake::setRunsFail(false);
    EXPECT(isDoubled(engine.run(inputs).at("y"), x));
    EXPECT_EQUAL(fake::contextsAlive(), 1);
    fake::setMemoryBytes(256 + 8);
    Engine const another = test::load();
    EXPECT_THROW(Error, "the memory of the GPU ran out\nhint: run smaller batches", another.run(inputs));
    fake::setMemoryBytes(std::size_t{1} << 30);
    EXPECT(isDoubled(another.run(inputs).at("y"), x));
}

void leavesNothingBehind()
{
    EXPECT(fake::alive() == fake::Alive{});
    EXPECT_EQUAL(fake::contextsAlive(), 0);
}

} // namespace

int main()
{
    return test::run(tellsNamesShapesTypesAndProfiles, choosesTheNearestProfile, runsOnTheHost, runsOnNothing,
        returnsOutputsWhoseShapeTheValuesDecide, saysWhatIsWrongWithACall, recoversFromAFailure, leavesNothingBehind);
}
