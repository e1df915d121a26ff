// A frozen graph is read as a chain of operations, which are checked and become steps one by one.
#include "steps.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/leaky_relu.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "first_block.h"

namespace vae {
namespace {

struct Operation {
  std::string name;
  std::vector<at::IValue> constants;
};

// Whether the parts of a split, in their order, are what a graph returns.
bool unpacked(const torch::jit::Value& split, const torch::jit::Graph& graph) {
  const torch::jit::Node* result = graph.outputs()[0]->node();
  if (split.node()->kind() != at::aten::split || split.uses().size() != 1) return false;
  const torch::jit::Node* parts = split.uses()[0].user;
  return parts->kind() == at::prim::ListUnpack && result->kind() == at::prim::TupleConstruct &&
         std::ranges::equal(parts->outputs(), result->inputs());
}

// The operations of a frozen graph that is a chain from the images to a split in two; nothing where it is not.
std::optional<std::vector<Operation>> chain(const torch::jit::Graph& graph) {
  std::vector<Operation> operations;
  const torch::jit::Value* last = graph.inputs().back();
  for (const torch::jit::Node* node : graph.nodes()) {
    if (node->kind() == at::prim::Constant) continue;
    Operation operation{node->kind().toQualString(), {}};
    int from_last = 0;
    for (const torch::jit::Value* input : node->inputs()) {
      if (input == last) {
        from_last++;
      } else if (const auto constant = torch::jit::toIValue(input)) {
        operation.constants.push_back(*constant);
      } else {
        return std::nullopt;
      }
    }
    if (from_last != 1 || last->uses().size() != 1 || node->outputs().size() != 1) return std::nullopt;
    operations.push_back(std::move(operation));
    last = node->output();
    if (operations.back().name == "aten::split") break;
  }
  return unpacked(*last, graph) ? std::optional(operations) : std::nullopt;
}

bool same(const std::vector<int64_t>& values, int64_t value) {
  return std::all_of(values.begin(), values.end(), [=](int64_t each) { return each == value; });
}

// The first block that begins at operation `i`, if it is one that the code in first_block.cpp is for: few input
// channels, a square kernel.
std::optional<Step> match_first_block(const std::vector<Operation>& operations, size_t i) {
  if (i + 2 >= operations.size() || operations[i].name != "aten::to" ||
      operations[i + 1].name != "aten::_convolution" || operations[i + 2].name != "aten::leaky_relu_")
    return std::nullopt;
  const auto& types = operations[i].constants;
  if (!types[0].isInt() || types[0].toInt() != static_cast<int64_t>(at::kFloat)) return std::nullopt;
  const auto& values = operations[i + 1].constants;
  const at::Tensor weight = values[0].toTensor();
  const std::vector<int64_t> stride = values[2].toIntVector(), padding = values[3].toIntVector();
  const bool plain = same(values[4].toIntVector(), 1) && !values[5].toBool() && values[7].toInt() == 1;
  if (!plain || !values[1].isTensor() || weight.dim() != 4 || weight.size(1) > 4 || weight.size(2) != weight.size(3) ||
      !same(stride, stride[0]) || !same(padding, padding[0]))
    return std::nullopt;
  const float slope = operations[i + 2].constants[0].toDouble();
  return first_block(weight, values[1].toTensor(), stride[0], padding[0], slope);
}

// Whether dense layers go to oneDNN: MKL, which torch calls for them, has its best kernels for Intel's processors.
bool prefers_onednn() {
#ifdef __x86_64__
  return !__builtin_cpu_is("intel");
#else
  return false;
#endif
}

bool is_dense(const Operation& operation) {
  const auto& [name, c] = operation;
  return name == "aten::addmm" && c[2].toScalar().equal(1) && c[3].toScalar().equal(1);
}

// Whether a LeakyReLU follows operation `i`.
bool is_activated(const std::vector<Operation>& operations, size_t i) {
  return i + 1 < operations.size() && operations[i + 1].name == "aten::leaky_relu_";
}

// The dense layer at operation `i` by oneDNN, with its weights packed once, and with the LeakyReLU after it where there
// is one; nothing where torch's own product is the faster, or torch is built without oneDNN.
std::optional<Step> match_dense(const std::vector<Operation>& operations, size_t i) {
  if (!prefers_onednn() || !is_dense(operations[i])) return std::nullopt;
  using at::Tensor;
  using Pack = Tensor(const Tensor&, std::optional<int64_t>);
  using Layer = Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view,
                       c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);
  auto& dispatcher = c10::Dispatcher::singleton();
  const auto pack = dispatcher.findSchema({"mkldnn::_reorder_linear_weight", ""});
  const auto layer = dispatcher.findSchema({"mkldnn::_linear_pointwise", ""});
  if (!pack || !layer) return std::nullopt;
  const bool activated = is_activated(operations, i);
  c10::List<std::optional<at::Scalar>> scalars;
  if (activated) scalars.push_back(operations[i + 1].constants[0].toScalar());
  return [scalars, run = layer->typed<Layer>(), name = activated ? "leaky_relu" : "none",
          bias = operations[i].constants[0].toTensor(),
          weight = pack->typed<Pack>().call(operations[i].constants[1].toTensor().t().contiguous(), std::nullopt)](
             const Tensor& in, Tensor&) { return run.call(in, weight, bias, name, scalars, ""); };
}

std::optional<Step> step(const Operation& operation) {
  const auto& [name, c] = operation;
  using at::Tensor;
  if (name == "aten::unsqueeze")
    return [dim = c[0].toInt()](const Tensor& in, Tensor&) { return in.unsqueeze(dim); };
  if (name == "aten::flatten")
    return [from = c[0].toInt(), to = c[1].toInt()](const Tensor& in, Tensor&) { return in.flatten(from, to); };
  if (name == "aten::permute")
    return [dims = c[0].toIntVector()](const Tensor& in, Tensor&) { return in.permute(dims); };
  if (name == "aten::to" && c[0].isInt() && c[0].toInt() == static_cast<int64_t>(at::kFloat))
    return [](const Tensor& in, Tensor& buffer) {
      if (!buffer.defined() || buffer.sizes() != in.sizes()) buffer = at::empty(in.sizes(), at::kFloat);
      return buffer.copy_(in);
    };
  if (name == "aten::leaky_relu_")
    return [slope = c[0].toScalar()](const Tensor& in, Tensor&) {
      Tensor same = in;
      return at::leaky_relu_(same, slope);
    };
  if (name == "aten::_convolution")
    return [c](const Tensor& in, Tensor&) {
      return at::convolution(in, c[0].toTensor(), c[1].toOptional<Tensor>(), c[2].toIntVector(), c[3].toIntVector(),
                             c[4].toIntVector(), c[5].toBool(), c[6].toIntVector(), c[7].toInt());
    };
  if (is_dense(operation))
    return [bias = c[0].toTensor(), weight = c[1].toTensor()](const Tensor& in, Tensor& buffer) {
      if (!buffer.defined() || buffer.size(0) != in.size(0))
        buffer = at::empty({in.size(0), weight.size(1)}, at::kFloat);
      return at::addmm_out(buffer, bias, in, weight);
    };
  return std::nullopt;
}

}  // namespace

std::vector<Step> plan(const torch::jit::Graph& graph, int64_t latent_size) {
  const auto operations = chain(graph);
  std::vector<Step> steps;
  if (!operations || operations->back().constants[0].toInt() != latent_size ||
      operations->back().constants[1].toInt() != 1)
    return {};
  for (size_t i = 0; i + 1 < operations->size(); i++) {
    if (auto block = match_first_block(*operations, i)) {
      steps.push_back(*block);
      i += 2;
    } else if (auto dense = match_dense(*operations, i)) {
      steps.push_back(*dense);
      i += is_activated(*operations, i);
    } else if (auto layer = step((*operations)[i])) {
      steps.push_back(*layer);
    } else {
      return {};
    }
  }
  return steps;
}

}  // namespace vae
