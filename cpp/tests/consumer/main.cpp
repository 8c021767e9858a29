#include <s2deploy/engine.h>

#include <iostream>

//! Loads a plan of one input x, float32, runs it on ones of the smallest shape it takes, and prints the first output.
int main(int argc, char** argv)
try
{
    if (argc != 2)
    {
        std::cerr << "usage: consumer model.plan\n";
        return 2;
    }
    auto const engine = s2deploy::Engine::load(argv[1]);
    auto const& info = engine.inputs().front();
    auto const& shape = engine.profiles().front().at(info.name).min;
    std::vector<float> const ones(s2deploy::elementsOf(shape), 1.0F);
    auto const outputs = engine.run({{info.name, s2deploy::hostInput(ones, shape)}});
    auto const& [name, tensor] = *outputs.begin();
    std::cout << engine.backend() << ": " << name << " " << s2deploy::toString(tensor.shape) << " "
              << tensor.as<float>()[0] << "\n";
    return 0;
}
catch (s2deploy::Error const& error)
{
    std::cerr << error.what() << "\n";
    return 1;
}
