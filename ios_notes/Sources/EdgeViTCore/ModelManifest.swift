// The part of a model's manifest that an app needs; JSONDecoder passes over the rest.

import Foundation

public struct ModelManifest: Decodable, Sendable {
    public struct Label: Decodable, Sendable {
        public let id: String
        public let name: String
    }

    public struct Input: Decodable, Sendable {
        public let shape: [Int]
        public let layout: String
        public let resize: Int
        public let interpolation: String

        /// Length of a side of the picture that the model takes.
        public var side: Int { layout == "NHWC" ? shape[1] : shape[2] }

        var isSquare: Bool { shape.count == 4 && side == (layout == "NHWC" ? shape[2] : shape[3]) }
    }

    public struct File: Decodable, Sendable {
        public let name: String
        public let numBytes: Int
        public let sha256: String
    }

    public let schemaVersion: Int
    public let model: String
    public let precision: String
    public let target: String
    public let classes: [Label]
    public let input: Input
    public let file: File

    /// Read a manifest, and refuse one that this example cannot serve.
    public static func load(from data: Data) throws -> ModelManifest {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let manifest = try decoder.decode(ModelManifest.self, from: data)
        guard manifest.schemaVersion == 1 else {
            throw ModelProblem.unusable("schema_version \(manifest.schemaVersion) is unknown here; this reads 1")
        }
        guard manifest.target == "coreml" else {
            throw ModelProblem.unusable("\(manifest.model) was made for \(manifest.target), not for coreml")
        }
        guard manifest.input.isSquare else {
            throw ModelProblem.unusable("\(manifest.model) takes no square pictures; this example prepares squares")
        }
        return manifest
    }
}

public enum ModelProblem: LocalizedError {
    case missing(String)
    case unusable(String)
    case unreadablePicture

    public var errorDescription: String? {
        switch self {
        case .missing(let name): return "\(name) is not part of this app; add it to the target"
        case .unusable(let why): return why
        case .unreadablePicture: return "The picture cannot be read."
        }
    }
}
