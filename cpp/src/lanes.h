#pragma once

#include "execution.h"

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>

namespace s2deploy
{

//! Graphs kept for each lane.
constexpr std::size_t kMOST_GRAPHS = 8;

//! Lanes that work given to several streams is spread over, for threads that do not wait.
constexpr std::size_t kMOST_LANES_UNDER_WAY = 4;

//! What one thread uses at a time: one execution for all shapes, or with CUDA graphs one for each.
class Lane
{
public:
    Lane(Parts const& parts, bool graphs, std::size_t mostGraphs);

    //! The execution for these shapes; the one unused for longest makes room for a new one.
    Execution& execution(std::size_t profile, Shapes const& shapes);

    //! Whether the work under way is over.
    bool isDone() const noexcept;

    //! The caller's stream it was last used for; null where that call waited.
    cudaStream_t lastStream{};

private:
    struct Entry
    {
        std::size_t profile;
        Shapes shapes;
        std::unique_ptr<Execution> execution;
    };

    Parts const mParts;
    bool const mGraphs;
    std::size_t const mMost;
    std::list<Entry> mEntries; // the one used last comes first
};

//! As many lanes as threads that call at the same time; with one context, they take turns.
class Lanes
{
public:
    //! \param oneContext Whether there may be one context at a time.
    Lanes(Parts const& parts, bool graphs, bool oneContext);

    //! A lane that no other thread uses meanwhile. One that ends in an exception is freed: its context may be in any state.
    class Borrowed
    {
    public:
        Borrowed(Lanes& lanes, cudaStream_t stream);
        ~Borrowed();
        Borrowed(Borrowed const&) = delete;
        Borrowed& operator=(Borrowed const&) = delete;

        Lane* operator->() const noexcept
        {
            return mLane.get();
        }

    private:
        Lanes& mLanes;
        int const mExceptions;
        std::unique_ptr<Lane> mLane;
    };

private:
    std::unique_ptr<Lane> take(cudaStream_t stream);
    void giveBack(std::unique_ptr<Lane> lane);

    Parts const mParts;
    bool const mGraphs;
    bool const mOneContext;
    std::mutex mMutex;
    std::condition_variable mReturned;
    std::size_t mBorrowed{};
    std::list<std::unique_ptr<Lane>> mIdle;
};

} // namespace s2deploy
