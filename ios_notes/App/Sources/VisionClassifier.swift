// The shorter way: Vision scales, crops and classifies. Its pixels are not those of training; see README.md.

import CoreGraphics
import CoreML
import ImageIO
import Vision

enum VisionClassifier {
    /// Classify with the API of iOS 18, or before it with the older requests.
    static func classify(_ picture: CGImage, orientation: CGImagePropertyOrientation, model: MLModel) async throws -> [(String, Float)] {
        if #available(iOS 18, macOS 15, *) {
            let container = try CoreMLModelContainer(model: model)
            var request = CoreMLRequest(model: container)
            request.cropAndScaleAction = .centerCrop
            let found = try await request.perform(on: picture, orientation: orientation)
            return found.compactMap { $0 as? ClassificationObservation }.map { ($0.identifier, $0.confidence) }
        }
        let request = VNCoreMLRequest(model: try VNCoreMLModel(for: model))
        request.imageCropAndScaleOption = .centerCrop
        try VNImageRequestHandler(cgImage: picture, orientation: orientation).perform([request])
        let found = request.results as? [VNClassificationObservation] ?? []
        return found.map { ($0.identifier, $0.confidence) }
    }
}
