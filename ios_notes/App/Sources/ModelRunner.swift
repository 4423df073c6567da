// Runs one Core ML model: loads it, says which processors take it, predicts, measures.

import CoreML
import CoreVideo
import EdgeViTCore
import Foundation

/// What one picture gave, and how long each stage took.
struct Classification: Sendable {
    struct Row: Identifiable, Sendable {
        let label: String
        let probability: Double
        var id: String { label }
    }

    let rows: [Row]
    let prepareMs: Double
    let inferenceMs: Double
    let resultMs: Double
}

/// A loaded model. An actor whose calls do not suspend on the way: at an `await` in the middle another call could enter and run on the
/// same buffers, and its time would be counted with ours. So the synchronous `prediction(from:)` is called, never the async one.
actor ModelRunner {
    nonisolated let manifest: ModelManifest
    nonisolated let units: MLComputeUnits
    private let model: MLModel
    private let modelURL: URL
    private let configuration: MLModelConfiguration
    private let imageInput: String
    private let loadMs: Double
    /// A model gives logits or, converted with `--output probabilities`, probabilities by label alone.
    private let logitsOutput: String?
    private let probabilitiesOutput: String?
    private let clock = ContinuousClock()

    /// Load a model of the app's bundle. The first time on a device Core ML also specializes it, which takes seconds.
    init(named name: String, units: MLComputeUnits = .all, bundle: Bundle = .main) async throws {
        guard let modelURL = bundle.url(forResource: name, withExtension: "mlmodelc") else {
            throw ModelProblem.missing("\(name).mlpackage")
        }
        guard let manifestURL = bundle.url(forResource: "\(name).mlpackage", withExtension: "json") else {
            throw ModelProblem.missing("\(name).mlpackage.json")
        }
        manifest = try ModelManifest.load(from: Data(contentsOf: manifestURL))
        let configuration = MLModelConfiguration()
        configuration.computeUnits = units
        let clock = ContinuousClock()
        let begin = clock.now
        model = try await MLModel.load(contentsOf: modelURL, configuration: configuration)
        loadMs = Self.milliseconds(clock.now - begin)
        self.modelURL = modelURL
        self.configuration = configuration
        self.units = units

        let description = model.modelDescription
        let images = description.inputDescriptionsByName.filter { $0.value.type == .image }
        let arrays = description.outputDescriptionsByName.filter { $0.value.type == .multiArray }
        let probabilities = description.predictedProbabilitiesName
        guard let image = images.keys.first, images.count == 1, arrays.count == 1 || probabilities != nil else {
            throw ModelProblem.unusable("\(name) does not take one picture and give logits or probabilities")
        }
        imageInput = image
        logitsOutput = arrays.count == 1 ? arrays.keys.first : nil
        probabilitiesOutput = probabilities
    }

    /// Say which processor each operator prefers, such as "Neural Engine 112, CPU 3"; iOS 17.4 and later.
    func whatRuns() async throws -> String {
        guard #available(iOS 17.4, macOS 14.4, *) else { return "unknown before iOS 17.4" }
        let plan = try await MLComputePlan.load(contentsOf: modelURL, configuration: configuration)
        guard case .program(let program) = plan.modelStructure, let main = program.functions["main"] else {
            return "unknown: no ML program"
        }
        var counts: [String: Int] = [:]
        for operation in main.block.operations {
            guard let usage = plan.deviceUsage(for: operation) else { continue }  // constants run nowhere
            counts[Self.name(of: usage.preferred), default: 0] += 1
        }
        return counts.sorted { $0.value > $1.value }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }

    /// Classify a prepared picture and return its most probable classes, the best first.
    func classify(_ picture: PreparedPicture, count: Int = 3) throws -> Classification {
        let input = try provider(for: picture)
        let begin = clock.now
        let output = try model.prediction(from: input)
        let predicted = clock.now
        let rows = try rows(of: output, count: count)
        return Classification(
            rows: rows, prepareMs: picture.milliseconds, inferenceMs: Self.milliseconds(predicted - begin),
            resultMs: Self.milliseconds(clock.now - predicted))
    }

    /// Measure the inference call alone. Nothing is drawn meanwhile: progress is not told, and the view shows a still picture.
    ///
    /// - Returns: the record, marked as partial when `mayGoOn` said no.
    func measure(
        _ picture: PreparedPicture, runs: Int = 100, device: BenchmarkRecord.Device, state: @Sendable () -> BenchmarkRecord.State,
        started: String, mayGoOn: @Sendable () -> String?
    ) async throws -> BenchmarkRecord {
        let ran = try await whatRuns()  // before, not between: an await lets others in
        let input = try provider(for: picture)
        let before = state()
        let first = try once(input)
        var warmUp = WarmUp()
        let limit = clock.now + .seconds(30)
        while !warmUp.isSteady && clock.now < limit && mayGoOn() == nil { warmUp.add(try once(input)) }
        var samples: [Double] = []
        let end = clock.now + .seconds(5)
        while (samples.count < runs || clock.now < end) && mayGoOn() == nil { samples.append(try once(input)) }
        let round = BenchmarkRecord.Round(samples: samples, warmUp: warmUp, loadUs: loadMs * 1000, firstUs: first)
        let runner = BenchmarkRecord.Runner(
            version: ProcessInfo.processInfo.operatingSystemVersionString, accelerator: ran, asked: Self.name(of: units))
        return BenchmarkRecord(
            manifest: manifest, device: device, runner: runner, round: round, runsAsked: runs, started: started,
            before: before, after: state(), stopped: mayGoOn())
    }

    /// Run once; return microseconds.
    private func once(_ input: MLFeatureProvider) throws -> Double {
        let begin = clock.now
        _ = try model.prediction(from: input)
        return Self.milliseconds(clock.now - begin) * 1000
    }

    private func provider(for picture: PreparedPicture) throws -> MLFeatureProvider {
        try MLDictionaryFeatureProvider(dictionary: [imageInput: MLFeatureValue(pixelBuffer: picture.buffer)])
    }

    private func rows(of output: MLFeatureProvider, count: Int) throws -> [Classification.Row] {
        if let name = logitsOutput, let logits = output.featureValue(for: name)?.multiArrayValue {
            let values = (0..<logits.count).map { logits[$0].doubleValue }
            guard values.count == manifest.classes.count, values.allSatisfy(\.isFinite) else {
                throw ModelProblem.unusable("\(manifest.model) gave \(values.count) values that are not its logits")
            }
            let shares = Statistics.softmax(values)
            return Statistics.top(shares, count: count).map {
                Classification.Row(label: manifest.classes[$0].name, probability: shares[$0])
            }
        }
        guard let name = probabilitiesOutput,
            let shares = output.featureValue(for: name)?.dictionaryValue as? [String: NSNumber]
        else {
            throw ModelProblem.unusable("\(manifest.model) gave neither logits nor probabilities")
        }
        let best = shares.sorted { $0.value.doubleValue > $1.value.doubleValue }.prefix(count)
        return best.map { Classification.Row(label: $0.key, probability: $0.value.doubleValue) }
    }

    private static func milliseconds(_ duration: Duration) -> Double {
        let parts = duration.components
        return Double(parts.seconds) * 1e3 + Double(parts.attoseconds) * 1e-15
    }

    private static func name(of device: MLComputeDevice) -> String {
        switch device {
        case .cpu: return "CPU"
        case .gpu: return "GPU"
        case .neuralEngine: return "Neural Engine"
        @unknown default: return "another processor"
        }
    }

    static func name(of units: MLComputeUnits) -> String {
        switch units {
        case .cpuOnly: return "CPU"
        case .cpuAndGPU: return "CPU and GPU"
        case .cpuAndNeuralEngine: return "CPU and Neural Engine"
        case .all: return "all"
        @unknown default: return "another choice"
        }
    }
}
