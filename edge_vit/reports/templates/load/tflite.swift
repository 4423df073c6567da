// Podfile: pod "TensorFlowLiteSwift"
// {{ file }} in the app's bundle
import TensorFlowLite

let path = Bundle.main.path(forResource: "{{ stem }}", ofType: "tflite")!
let interpreter = try Interpreter(modelPath: path)
try interpreter.allocateTensors()

{% include "load/rgb.swift" %}
try interpreter.copy(rgb.withUnsafeBufferPointer { Data(buffer: $0) }, toInputAt: 0)
try interpreter.invoke()
{% if is_classifier -%}
let outputs = try interpreter.output(at: 0).data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }  // {{ output.kind }}
let best = outputs.indices.max { outputs[$0] < outputs[$1] }!  // place in the manifest's classes
{%- else -%}
let maps = try (0..<interpreter.outputTensorCount).map { try interpreter.output(at: $0).data }
{%- endif %}
