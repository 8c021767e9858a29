#include "lanes.h"

#include <algorithm>
#include <exception>

namespace s2deploy
{

Lane::Lane(Parts const& parts, bool graphs, std::size_t mostGraphs)
    : mParts(parts)
    , mGraphs(graphs)
    , mMost(graphs ? mostGraphs : 1)
{
}

Execution& Lane::execution(std::size_t profile, Shapes const& shapes)
{
    auto const serves = [&](Entry const& entry) {
        return !mGraphs || (entry.profile == profile && entry.shapes == shapes);
    };
    auto const found = std::find_if(mEntries.begin(), mEntries.end(), serves);
    if (found != mEntries.end())
    {
        mEntries.splice(mEntries.begin(), mEntries, found);
    }
    else
    {
        while (mEntries.size() >= mMost)
        {
            mEntries.pop_back();
        }
        mEntries.push_front({profile, shapes, std::make_unique<Execution>(mParts, mGraphs)});
    }
    return *mEntries.front().execution;
}

bool Lane::isDone() const noexcept
{
    return mEntries.empty() || mEntries.front().execution->isDone();
}

Lanes::Lanes(Parts const& parts, bool graphs, bool oneContext)
    : mParts(parts)
    , mGraphs(graphs)
    , mOneContext(oneContext)
{
}

Lanes::Borrowed::Borrowed(Lanes& lanes, cudaStream_t stream)
    : mLanes(lanes)
    , mExceptions(std::uncaught_exceptions())
    , mLane(lanes.take(stream))
{
}

Lanes::Borrowed::~Borrowed()
{
    if (std::uncaught_exceptions() > mExceptions)
    {
        mLane.reset();
    }
    mLanes.giveBack(std::move(mLane));
}

std::unique_ptr<Lane> Lanes::take(cudaStream_t stream)
{
    std::unique_lock<std::mutex> lock(mMutex);
    mReturned.wait(lock, [this] { return !mOneContext || mBorrowed == 0; });
    // Work under way on a lane holds up what is given to it next. So: the lane that worked for this stream, where it
    // comes later anyway; one that is done; a new one, unless there are enough.
    auto lane = std::find_if(mIdle.begin(), mIdle.end(),
        [stream](auto const& idle) { return stream != nullptr && idle->lastStream == stream; });
    if (lane == mIdle.end())
    {
        lane = std::find_if(mIdle.begin(), mIdle.end(), [](auto const& idle) { return idle->isDone(); });
    }
    if (lane == mIdle.end() && (mOneContext || mIdle.size() >= kMOST_LANES_UNDER_WAY))
    {
        lane = mIdle.begin();
    }
    std::unique_ptr<Lane> taken;
    if (lane == mIdle.end())
    {
        taken = std::make_unique<Lane>(mParts, mGraphs, mOneContext ? 1 : kMOST_GRAPHS);
    }
    else
    {
        taken = std::move(*lane);
        mIdle.erase(lane);
    }
    taken->lastStream = stream;
    ++mBorrowed;
    return taken;
}

void Lanes::giveBack(std::unique_ptr<Lane> lane)
{
    {
        std::lock_guard<std::mutex> const lock(mMutex);
        --mBorrowed;
        if (lane != nullptr)
        {
            mIdle.push_back(std::move(lane));
        }
    }
    mReturned.notify_one();
}

} // namespace s2deploy
