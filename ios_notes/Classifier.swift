// Classify pictures with a converted model: load it, prepare a picture, predict, time it.
//
// Put NAME.mlpackage and NAME.mlpackage.json (the manifest) into the app's target. Xcode compiles the package to
// NAME.mlmodelc. Needs iOS 17 or macOS 14. Nothing about the model is written here: size, labels and names come from
// the manifest and from the model itself.

import CoreGraphics
import CoreML
import CoreVideo
import Foundation
import ImageIO

/// The part of the manifest that an app needs; JSONDecoder passes over the rest.
struct ModelManifest: Decodable, Sendable {
    struct Label: Decodable, Sendable {
        let id: String
        let name: String
    }

    struct Input: Decodable, Sendable {
        let shape: [Int]
        let layout: String
        let resize: Int

        /// Length of a side of the picture that the model takes.
        var side: Int { layout == "NHWC" ? shape[1] : shape[2] }

        var isSquare: Bool { side == (layout == "NHWC" ? shape[2] : shape[3]) }
    }

    let schemaVersion: Int
    let model: String
    let precision: String
    let target: String
    let classes: [Label]
    let input: Input

    static func load(from url: URL) throws -> ModelManifest {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let manifest = try decoder.decode(ModelManifest.self, from: Data(contentsOf: url))
        guard manifest.schemaVersion == 1 else {
            throw ClassifierError.unusable("schema_version \(manifest.schemaVersion) is unknown here; this reads 1")
        }
        guard manifest.target == "coreml" else {
            throw ClassifierError.unusable("\(manifest.model) was made for \(manifest.target), not for coreml")
        }
        guard manifest.input.isSquare else {
            throw ClassifierError.unusable("\(manifest.model) takes no square pictures; this example prepares squares")
        }
        return manifest
    }
}

enum ClassifierError: LocalizedError {
    case missing(String)
    case unusable(String)
    case unreadablePicture

    var errorDescription: String? {
        switch self {
        case .missing(let name): return "\(name) is not part of this app; add it to the target"
        case .unusable(let why): return why
        case .unreadablePicture: return "The picture cannot be read."
        }
    }
}

/// One class with its probability.
struct Prediction: Sendable {
    let label: String
    let probability: Double
}

/// What one picture gave, and how long the model took for it, preparation not counted.
struct Classification: Sendable {
    let top: [Prediction]
    let inference: Duration
}

/// A loaded model. An actor: one picture at a time, off the main thread.
actor Classifier {
    nonisolated let manifest: ModelManifest
    private let model: MLModel
    private let imageInput: String
    /// A model gives logits or, converted with `--output probabilities`, probabilities by label alone.
    private let logitsOutput: String?
    private let probabilitiesOutput: String?

    /// Load a model of the app's bundle. The first time on a device Core ML also specializes it, which takes seconds.
    init(named name: String, computeUnits: MLComputeUnits = .all, bundle: Bundle = .main) async throws {
        guard let modelURL = bundle.url(forResource: name, withExtension: "mlmodelc") else {
            throw ClassifierError.missing("\(name).mlpackage")
        }
        guard let manifestURL = bundle.url(forResource: "\(name).mlpackage", withExtension: "json") else {
            throw ClassifierError.missing("\(name).mlpackage.json")
        }
        manifest = try ModelManifest.load(from: manifestURL)
        let configuration = MLModelConfiguration()
        configuration.computeUnits = computeUnits
        model = try await MLModel.load(contentsOf: modelURL, configuration: configuration)

        let description = model.modelDescription
        let images = description.inputDescriptionsByName.filter { $0.value.type == .image }
        let arrays = description.outputDescriptionsByName.filter { $0.value.type == .multiArray }
        let probabilities = description.predictedProbabilitiesName
        guard let image = images.keys.first, images.count == 1, arrays.count == 1 || probabilities != nil else {
            throw ClassifierError.unusable("\(name) does not take one picture and give logits or probabilities")
        }
        imageInput = image
        logitsOutput = arrays.count == 1 ? arrays.keys.first : nil
        probabilitiesOutput = probabilities
    }

    /// Classify a picture and return its most probable classes, the best first.
    func classify(_ picture: CGImage, orientation: CGImagePropertyOrientation = .up, count: Int = 3) async throws
        -> Classification
    {
        let buffer = try PicturePreparation.pixelBuffer(
            of: picture, orientation: orientation, resize: manifest.input.resize, side: manifest.input.side)
        let input = try MLDictionaryFeatureProvider(dictionary: [imageInput: MLFeatureValue(pixelBuffer: buffer)])
        let clock = ContinuousClock()
        let begin = clock.now
        let output = try await model.prediction(from: input)
        let inference = clock.now - begin
        if let name = logitsOutput, let logits = output.featureValue(for: name)?.multiArrayValue {
            return Classification(top: try top(count, of: logits), inference: inference)
        }
        guard let name = probabilitiesOutput,
            let shares = output.featureValue(for: name)?.dictionaryValue as? [String: NSNumber]
        else {
            throw ClassifierError.unusable("\(manifest.model) gave neither logits nor probabilities")
        }
        let best = shares.sorted { $0.value.doubleValue > $1.value.doubleValue }.prefix(count)
        let top = best.map { Prediction(label: $0.key, probability: $0.value.doubleValue) }
        return Classification(top: top, inference: inference)
    }

    /// Measure latency on one picture; returns p50 and p90 in milliseconds.
    func measure(_ picture: CGImage, runs: Int = 100, warmUp: Int = 20) async throws -> (p50: Double, p90: Double) {
        var samples: [Double] = []
        for run in 0..<(warmUp + runs) {
            let inference = try await classify(picture).inference
            if run >= warmUp {
                let parts = inference.components
                samples.append(Double(parts.seconds) * 1e3 + Double(parts.attoseconds) * 1e-15)
            }
        }
        samples.sort()
        return (Self.quantile(samples, 0.5), Self.quantile(samples, 0.9))
    }

    private func top(_ count: Int, of logits: MLMultiArray) throws -> [Prediction] {
        let values = (0..<logits.count).map { logits[$0].doubleValue }
        guard values.count == manifest.classes.count, values.allSatisfy(\.isFinite), let largest = values.max() else {
            throw ClassifierError.unusable("\(manifest.model) gave \(values.count) values that are not its logits")
        }
        let weights = values.map { exp($0 - largest) }
        let total = weights.reduce(0, +)
        let order = weights.indices.sorted { weights[$0] > weights[$1] }
        return order.prefix(count).map {
            Prediction(label: manifest.classes[$0].name, probability: weights[$0] / total)
        }
    }

    /// Interpolate between the neighbouring order statistics, as bench_arm and the Android app do.
    private static func quantile(_ sorted: [Double], _ share: Double) -> Double {
        let position = Double(sorted.count - 1) * share
        let below = Int(position.rounded(.down))
        let above = min(below + 1, sorted.count - 1)
        return sorted[below] + (sorted[above] - sorted[below]) * (position - Double(below))
    }
}

/// Brings a picture to the model's size: upright, shorter side to `resize`, centre crop of `side`.
///
/// Core Graphics resamples, not Pillow's algorithm: the pixels differ a little from those of training. README.md says when
/// that matters and what to do.
enum PicturePreparation {
    static func pixelBuffer(of picture: CGImage, orientation: CGImagePropertyOrientation, resize: Int, side: Int) throws
        -> CVPixelBuffer
    {
        var made: CVPixelBuffer?
        CVPixelBufferCreate(kCFAllocatorDefault, side, side, kCVPixelFormatType_32BGRA, nil, &made)
        guard let buffer = made else { throw ClassifierError.unreadablePicture }
        CVPixelBufferLockBaseAddress(buffer, [])
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        let layout = CGBitmapInfo.byteOrder32Little.rawValue | CGImageAlphaInfo.noneSkipFirst.rawValue
        guard
            let space = CGColorSpace(name: CGColorSpace.sRGB),
            let context = CGContext(
                data: CVPixelBufferGetBaseAddress(buffer), width: side, height: side, bitsPerComponent: 8,
                bytesPerRow: CVPixelBufferGetBytesPerRow(buffer), space: space, bitmapInfo: layout)
        else { throw ClassifierError.unreadablePicture }

        // Transparent parts lie over white, as in training.
        context.setFillColor(CGColor(red: 1, green: 1, blue: 1, alpha: 1))
        context.fill(CGRect(x: 0, y: 0, width: side, height: side))
        context.interpolationQuality = .high
        context.translateBy(x: CGFloat(side) / 2, y: CGFloat(side) / 2)
        turn(context, orientation)
        let scale = CGFloat(resize) / CGFloat(min(picture.width, picture.height))
        let width = CGFloat(picture.width) * scale
        let height = CGFloat(picture.height) * scale
        context.draw(picture, in: CGRect(x: -width / 2, y: -height / 2, width: width, height: height))
        return buffer
    }

    /// Turn the drawing so that the picture comes out upright. Core Graphics counts y upwards.
    private static func turn(_ context: CGContext, _ orientation: CGImagePropertyOrientation) {
        switch orientation {
        case .up: break
        case .upMirrored: context.scaleBy(x: -1, y: 1)
        case .down: context.rotate(by: .pi)
        case .downMirrored: context.scaleBy(x: 1, y: -1)
        case .left: context.rotate(by: .pi / 2)
        case .right: context.rotate(by: -.pi / 2)
        case .leftMirrored:
            context.rotate(by: -.pi / 2)
            context.scaleBy(x: 1, y: -1)
        case .rightMirrored:
            context.rotate(by: .pi / 2)
            context.scaleBy(x: 1, y: -1)
        }
    }
}
