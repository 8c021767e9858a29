//! \file kernelDeviceTest.cpp
//! Runs the launchers on a GPU and compares with the Python reference: kernelDeviceTest CASES

#include "deviceCases.h"
#include "shiftSumKernel.h"
#include "shiftSumPoolKernel.h"
#include "spatialShiftKernel.h"

namespace
{
using namespace s2deploy;

bool launch(ReferenceCase const& c, DeviceBuffers const& buffers)
{
    ShiftTable table;
    if (buildShiftTable(c.groups.data(), static_cast<int32_t>(c.groups.size()), table) != nullptr)
    {
        return false;
    }
    switch (c.kind)
    {
    case CaseKind::kSPATIAL_SHIFT:
        return launchSpatialShift(
                   c.shape(), c.type, table, static_cast<Border>(c.border), buffers.x, buffers.y, buffers.stream)
            == cudaSuccess;
    case CaseKind::kSHIFT_SUM:
        return launchShiftSum(c.shape(), c.branches, c.type, table, buffers.x, buffers.w, buffers.y, buffers.stream)
            == cudaSuccess;
    default:
        return launchShiftSumPool(c.shape(), c.branches, c.type, table, buffers.x, static_cast<float*>(buffers.y),
                   static_cast<float*>(buffers.workspace), buffers.stream)
            == cudaSuccess;
    }
}
} // namespace

int main(int argc, char** argv)
{
    return s2deploy::runOnDevice("kernelDeviceTest", argc == 2 ? argv[1] : "", true, launch);
}
