#pragma once

#include "fakePlan.h"
#include "stubs.h"

#include <NvInferRuntime.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

//! \file The execution context of the stand-in for TensorRT, which computes.

namespace fake
{

//! What all contexts share.
struct Contexts
{
    std::atomic<int> alive{};
    std::atomic<int> made{};
    std::atomic<bool> runsFail{};
};

inline Contexts& contexts()
{
    static Contexts only;
    return only;
}

//! Stops the test where two threads use an object at once.
class OneThread
{
public:
    explicit OneThread(std::atomic<bool>& busy)
        : mBusy(busy)
    {
        if (mBusy.exchange(true))
        {
            fake::broken("two threads use an execution context at once");
        }
        std::this_thread::yield();
    }

    ~OneThread()
    {
        mBusy = false;
    }

private:
    std::atomic<bool>& mBusy;
};

class Context : public nvinfer1::IExecutionContext, public nvinfer1::StubContext
{
public:
    explicit Context(Plan& plan)
        : mPlan(plan)
    {
        mImpl = this;
        ++contexts().alive;
        ++contexts().made;
        if (++mPlan.contexts > 1 && NV_TENSORRT_MAJOR < 10 && mPlan.isDynamic())
        {
            broken("two contexts share an optimization profile");
        }
        for (Tensor const& tensor : mPlan.tensors)
        {
            mShapes[tensor.name] = tensor.shape;
        }
    }

    ~Context() noexcept override
    {
        --contexts().alive;
        --mPlan.contexts;
    }

    int32_t getOptimizationProfile() const noexcept override
    {
        return mProfile;
    }

    bool setOptimizationProfileAsync(int32_t profile, cudaStream_t) noexcept override
    {
        OneThread const only(mBusy);
        mProfile = profile;
        return true;
    }

    bool setInputShape(char const* name, nvinfer1::Dims const& dims) noexcept override
    {
        OneThread const only(mBusy);
        Sizes const shape(dims.d, dims.d + dims.nbDims);
        if (mPlan.isDynamic())
        {
            json const range = mPlan.content.at("profiles").at(mProfile).at(name);
            for (std::size_t axis = 0; axis < shape.size(); ++axis)
            {
                if (shape[axis] < range[0][axis] || shape[axis] > range[2][axis])
                {
                    broken("a shape is set that the profile does not take");
                }
            }
        }
        mShapes[name] = shape;
        if (name == mPlan.tensors.front().name)
        {
            mShapes["y"] = shape;
            mShapes["scores"] = {shape.at(0), shape.size() > 1 ? shape[1] : 1};
        }
        return true;
    }

    int32_t inferShapes(int32_t, char const**) noexcept override
    {
        return 0;
    }

    nvinfer1::Dims getTensorShape(char const* name) const noexcept override
    {
        return toDims(mShapes.at(name));
    }

    bool setTensorAddress(char const* name, void* address) noexcept override
    {
        OneThread const only(mBusy);
        mAddresses[name] = address;
        return address != nullptr && reinterpret_cast<std::uintptr_t>(address) % 256 == 0;
    }

    bool setOutputAllocator(char const* name, nvinfer1::IOutputAllocator* allocator) noexcept override
    {
        mAllocators[name] = allocator;
        return true;
    }

    bool enqueueV3(cudaStream_t stream) noexcept override
    {
        OneThread const only(mBusy);
        if (contexts().runsFail)
        {
            mPlan.logger->log(nvinfer1::ILogger::Severity::kERROR, "the kernel fell over");
            return false;
        }
        std::string const& x = mPlan.tensors.front().name;
        auto const* from = static_cast<float const*>(mAddresses.at(x));
        Sizes const shape = mShapes.at(x);
        std::weak_ptr<int> const alive = mAlive;
        if (mPlan.kind == "means")
        {
            auto* const to = static_cast<float*>(mAddresses.at("scores"));
            fake::enqueue(stream, [=] { means(alive, from, to, shape); });
            return true;
        }
        auto* const to = static_cast<float*>(mAddresses.at("y"));
        fake::enqueue(stream, [=] { doubled(alive, from, to, elements(shape)); });
        return mPlan.kind != "positive" || positive(stream, from, elements(shape));
    }

private:
    static void require(std::weak_ptr<int> const& alive)
    {
        if (alive.expired())
        {
            broken("an execution context was freed before its work was over");
        }
    }

    static void doubled(std::weak_ptr<int> const& alive, float const* from, float* to, std::size_t count)
    {
        require(alive);
        requireDevice(from, count * sizeof(float));
        requireDevice(to, count * sizeof(float));
        std::transform(from, from + count, to, [](float x) { return x + x; });
    }

    static void means(std::weak_ptr<int> const& alive, float const* from, float* to, Sizes const& shape)
    {
        require(alive);
        std::size_t const rows = elements({shape[0], shape[1]});
        std::size_t const columns = elements(shape) / std::max<std::size_t>(1, rows);
        requireDevice(from, rows * columns * sizeof(float));
        requireDevice(to, rows * sizeof(float));
        for (std::size_t row = 0; row < rows; ++row)
        {
            double sum = 0;
            for (std::size_t column = 0; column < columns; ++column)
            {
                sum += static_cast<double>(from[row * columns + column]);
            }
            to[row] = static_cast<float>(sum / static_cast<double>(columns));
        }
    }

    //! Counts on the host, as layers of such shapes do, so it waits for what is in the stream.
    bool positive(cudaStream_t stream, float const* from, std::size_t count)
    {
        if (isCapturing(stream) || cudaStreamSynchronize(stream) != cudaSuccess)
        {
            return false;
        }
        std::vector<float> found;
        std::copy_if(from, from + count, std::back_inserter(found), [](float x) { return x > 0; });
        nvinfer1::IOutputAllocator* const allocator = mAllocators.at("positive");
        std::size_t const sizeBytes = found.size() * sizeof(float);
        void* const before = mAddresses.at("positive");
#if NV_TENSORRT_MAJOR >= 10
        void* const to = allocator->reallocateOutputAsync("positive", before, sizeBytes, 256, stream);
#else
        void* const to = allocator->reallocateOutput("positive", before, sizeBytes, 256);
#endif
        if (to == nullptr)
        {
            mPlan.logger->log(nvinfer1::ILogger::Severity::kERROR, "no memory for an output");
            return false;
        }
        allocator->notifyShape("positive", toDims({static_cast<int64_t>(found.size())}));
        fake::enqueue(stream, [to, found, sizeBytes] {
            requireDevice(to, sizeBytes);
            std::memcpy(to, found.data(), sizeBytes);
        });
        return true;
    }

    Plan& mPlan;
    int32_t mProfile{};
    std::atomic<bool> mBusy{};
    std::map<std::string, Sizes> mShapes;
    std::map<std::string, void*> mAddresses;
    std::map<std::string, nvinfer1::IOutputAllocator*> mAllocators;
    std::shared_ptr<int> mAlive{std::make_shared<int>()};
};

} // namespace fake
