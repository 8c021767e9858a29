//! \file fakeExpressions.h
//! Stand-ins for TensorRT's symbolic dimensions, whose real ones exist only inside a builder.

#ifndef S2DEPLOY_FAKE_EXPRESSIONS_H
#define S2DEPLOY_FAKE_EXPRESSIONS_H

#include "tensorRt.h"

#include <initializer_list>
#include <memory>
#include <vector>

namespace s2deploy
{

#if NV_TENSORRT_MAJOR >= 10
using Extent = int64_t;
#else
using Extent = int32_t;
#endif

//! A known extent, or a symbol with the value that a run would have.
class FakeExpression final : public nvinfer1::IDimensionExpr, public nvinfer1::apiv::VDimensionExpr
{
public:
    FakeExpression(Extent value, bool known)
        : mValue(value)
        , mKnown(known)
    {
        mImpl = this;
    }

    bool isConstant() const override
    {
        return mKnown;
    }

    Extent getConstantValue() const override
    {
        return mValue;
    }

#if NV_TENSORRT_MAJOR >= 10
    bool isSizeTensor() const override
    {
        return false;
    }
#endif

private:
    Extent mValue;
    bool mKnown;
};

//! Divides, which is all that the plugins ask for.
class FakeBuilder final : public nvinfer1::IExprBuilder, public nvinfer1::apiv::VExprBuilder
{
public:
    FakeBuilder()
    {
        mImpl = this;
    }

    nvinfer1::IDimensionExpr const* constant(Extent value) override
    {
        return make(value, true);
    }

    nvinfer1::IDimensionExpr const* operation(nvinfer1::DimensionOperation op, nvinfer1::IDimensionExpr const& first,
        nvinfer1::IDimensionExpr const& second) override
    {
        bool const known = first.isConstant() && second.isConstant();
        bool const divides = op == nvinfer1::DimensionOperation::kFLOOR_DIV;
        return divides ? make(valueOf(first) / valueOf(second), known) : nullptr;
    }

#if NV_TENSORRT_MAJOR >= 10
    nvinfer1::IDimensionExpr const* declareSizeTensor(
        int32_t, nvinfer1::IDimensionExpr const&, nvinfer1::IDimensionExpr const&) override
    {
        return nullptr;
    }
#endif

    //! \param extents a negative one is a symbol of that size
    nvinfer1::DimsExprs shape(std::initializer_list<Extent> extents)
    {
        nvinfer1::DimsExprs dims{};
        for (Extent const extent : extents)
        {
            dims.d[dims.nbDims++] = make(extent < 0 ? -extent : extent, extent >= 0);
        }
        return dims;
    }

    static Extent valueOf(nvinfer1::IDimensionExpr const& expression)
    {
        return expression.getConstantValue();
    }

private:
    nvinfer1::IDimensionExpr const* make(Extent value, bool known)
    {
        mMade.push_back(std::make_unique<FakeExpression>(value, known));
        return mMade.back().get();
    }

    std::vector<std::unique_ptr<FakeExpression>> mMade;
};

inline std::vector<Extent> valuesOf(nvinfer1::DimsExprs const& dims)
{
    std::vector<Extent> values;
    for (int32_t axis = 0; axis < dims.nbDims; ++axis)
    {
        values.push_back(FakeBuilder::valueOf(*dims.d[axis]));
    }
    return values;
}

inline nvinfer1::PluginTensorDesc describe(std::initializer_list<Extent> extents, nvinfer1::DataType type,
    nvinfer1::TensorFormat format = nvinfer1::TensorFormat::kLINEAR)
{
    nvinfer1::PluginTensorDesc desc{};
    for (Extent const extent : extents)
    {
        desc.dims.d[desc.dims.nbDims++] = extent;
    }
    desc.type = type;
    desc.format = format;
    return desc;
}

} // namespace s2deploy

#endif // S2DEPLOY_FAKE_EXPRESSIONS_H
