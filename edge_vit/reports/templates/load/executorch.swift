// Package: ExecuTorch's swiftpm branch, products executorch, backend_xnnpack, kernels_optimized
import ExecuTorch

let module = Module(filePath: Bundle.main.path(forResource: "{{ stem }}", ofType: "pte")!)
try module.load("forward")

{% include "load/rgb.swift" %}
let input = Tensor<{{ swift_type }}>(rgb, shape: [{{ shape | join(", ") }}])
{% if is_classifier -%}
let output: Tensor<Float> = try module.forward(input)[0].tensor()!  // {{ output.kind }}
let outputs = output.scalars()
let best = outputs.indices.max { outputs[$0] < outputs[$1] }!  // place in the manifest's classes
{%- else -%}
let maps: [Tensor<Float>] = try module.forward(input).map { $0.tensor()! }
{%- endif %}
