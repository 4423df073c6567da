// Signatures of the part of Core ML that ModelRunner.swift calls, written after Apple's reference
// (developer.apple.com/documentation/coreml), for checking its types off a Mac. They compute nothing.

import Foundation
import CoreVideo

public enum MLFeatureType: Int { case invalid, int64, double, string, image, multiArray, dictionary, sequence, state }
open class MLFeatureDescription {
    public var name: String { "" }
    public var type: MLFeatureType { .image }
}

open class MLModelDescription {
    public var inputDescriptionsByName: [String: MLFeatureDescription] { [:] }
    public var outputDescriptionsByName: [String: MLFeatureDescription] { [:] }
    public var predictedFeatureName: String? { nil }
    public var predictedProbabilitiesName: String? { nil }
}
public enum MLComputeUnits: Int, @unchecked Sendable { case cpuOnly = 0, cpuAndGPU = 1, all = 2, cpuAndNeuralEngine = 3 }
open class MLModelConfiguration {
    public init() {}
    public var computeUnits: MLComputeUnits = .all
}

open class MLMultiArray {
    public var count: Int { 0 }
    public subscript(idx: Int) -> NSNumber {
        get { 0 }
        set {}
    }
}

open class MLFeatureValue {
    public init(pixelBuffer value: CVPixelBuffer) {}
    public var multiArrayValue: MLMultiArray? { nil }
    public var dictionaryValue: [AnyHashable: NSNumber] { [:] }
}
public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}

open class MLDictionaryFeatureProvider: MLFeatureProvider {
    public init(dictionary: [String: Any]) throws {}
    public var featureNames: Set<String> { [] }
    public func featureValue(for featureName: String) -> MLFeatureValue? { nil }
}
open class MLModel: @unchecked Sendable {
    public var modelDescription: MLModelDescription { MLModelDescription() }
    public class func load(contentsOf url: URL, configuration: MLModelConfiguration = MLModelConfiguration()) async throws -> MLModel { fatalError() }
    public func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider { fatalError() }
}
public final class MLCPUComputeDevice {}
public final class MLGPUComputeDevice {}
public final class MLNeuralEngineComputeDevice {}
public enum MLComputeDevice { case cpu(MLCPUComputeDevice), gpu(MLGPUComputeDevice), neuralEngine(MLNeuralEngineComputeDevice) }
public enum MLModelStructure {
    case neuralNetwork(Int), program(Program), pipeline(Int), unsupported
    public struct Program {
        public var functions: [String: Function]
        public struct Function { public var block: Block }
        public struct Block { public var operations: [Operation] }
        public struct Operation { public var operatorName: String }
    }
}
public final class MLComputePlan {
    public struct DeviceUsage { public let supported: [MLComputeDevice]; public let preferred: MLComputeDevice }
    public class func load(contentsOf url: URL, configuration: MLModelConfiguration) async throws -> MLComputePlan { fatalError() }
    public var modelStructure: MLModelStructure { .unsupported }
    public func deviceUsage(for op: MLModelStructure.Program.Operation) -> DeviceUsage? { nil }
}
