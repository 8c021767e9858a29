//! \file operation.h
//! What the plugins of all operators have in common, whatever interface of TensorRT they are seen through.

#ifndef S2DEPLOY_OPERATION_H
#define S2DEPLOY_OPERATION_H

#include "attributes.h"
#include "elements.h"

#include <memory>

namespace s2deploy
{

//! Description, addresses and stream of one execution.
struct Execution
{
    nvinfer1::PluginTensorDesc const* inputDesc;
    nvinfer1::PluginTensorDesc const* outputDesc;
    void const* const* inputs;
    void* const* outputs;
    void* workspace;
    cudaStream_t stream;
};

//! One operator with its attributes. Immutable, so that threads and clones may share nothing and everything.
//! Methods throw std::exception; the plugin classes catch and report.
class Operation
{
public:
    explicit Operation(Attributes attributes);
    virtual ~Operation() = default;
    Operation(Operation const&) = default;
    Operation& operator=(Operation const&) = delete;

    virtual char const* name() const = 0;
    virtual AttributeSet attributeSet() const = 0;
    virtual int32_t inputs() const = 0;
    virtual std::unique_ptr<Operation> clone() const = 0;

    virtual nvinfer1::DimsExprs outputShape(nvinfer1::DimsExprs const* inputs, nvinfer1::IExprBuilder& builder) const
        = 0;
    virtual nvinfer1::DataType outputType(nvinfer1::DataType inputType) const = 0;

    //! \param x the largest shape of the first input
    virtual size_t workspaceBytes(nvinfer1::Dims const& x) const = 0;

    //! Checks the shapes and launches.
    virtual cudaError_t enqueue(Execution const& execution) const = 0;

    //! Checks the shape of the first input as far as it is known.
    //! \throw std::invalid_argument what does not fit
    void checkInputShape(nvinfer1::Dims const& x) const;

    //! All tensors are linear, inputs of one floating-point type, the output of the type that follows from it.
    bool supports(int32_t position, nvinfer1::PluginTensorDesc const* inOut, int32_t inputCount,
        int32_t outputCount) const;

    Attributes const& attributes() const
    {
        return mAttributes;
    }

protected:
    //! The position of the channels.
    int32_t channelAxis() const;

    //! The channels of one branch.
    nvinfer1::IDimensionExpr const* branchChannels(
        nvinfer1::DimsExprs const& x, nvinfer1::IExprBuilder& builder) const;

    //! The shape and shifts of an execution, checked.
    FeatureShape shapeOf(nvinfer1::PluginTensorDesc const& x) const;

    ShiftTable const& table() const
    {
        return mTable;
    }

private:
    Attributes mAttributes;
    ShiftTable mTable;
};

//! Runs an execution; a failure is reported and not thrown.
//! \return 0, or -1 as TensorRT wants it
int32_t runOperation(Operation const& operation, Execution const& execution) noexcept;

//! \return the dimensions, -1 where an expression is not constant
nvinfer1::Dims knownDims(nvinfer1::DimsExprs const& dims);

//! \throw std::invalid_argument for a type that no operator takes
ElementType elementType(nvinfer1::DataType type);

//! An operator as the creators know it.
struct OperationKind
{
    char const* name;
    AttributeSet attributeSet;
    std::unique_ptr<Operation> (*create)(Attributes);
};

} // namespace s2deploy

#endif // S2DEPLOY_OPERATION_H
