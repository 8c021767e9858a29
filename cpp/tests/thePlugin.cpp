//! \file A plugin library to load.

extern "C" int thePluginOfTheTest()
{
    return 1;
}
