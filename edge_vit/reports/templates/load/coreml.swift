// {{ file }} in the app's target; Xcode compiles it.
// ios_notes of edge_vit has a whole example.
import CoreML
import Vision

let url = Bundle.main.url(forResource: "{{ stem }}", withExtension: "mlmodelc")!
{% if is_classifier -%}
let model = try VNCoreMLModel(for: MLModel(contentsOf: url))
let request = VNCoreMLRequest(model: model)
request.imageCropAndScaleOption = .centerCrop
try VNImageRequestHandler(cgImage: picture).perform([request])
let best = (request.results as? [VNClassificationObservation])?.first
print(best?.identifier ?? "", best?.confidence ?? 0)
{%- else -%}
let model = try MLModel(contentsOf: url)
let input = try MLDictionaryFeatureProvider(dictionary: ["{{ input.name }}": MLFeatureValue(pixelBuffer: picture)])
let maps = try model.prediction(from: input)
{%- endif %}
