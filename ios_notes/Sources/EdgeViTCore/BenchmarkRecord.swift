// A measurement in bench_arm's format: `bench_arm --import` reads it from the app's Documents folder.

import Foundation

public struct BenchmarkRecord: Encodable, Sendable {
    public struct Device: Encodable, Sendable {
        public var name: String
        public var model: String
        public var soc: String
        public var system: String
        public var fingerprint: String
        public var machine = "arm64"
        public var clusters: [String] = []
        public var is_android = false
        public var emulated: Bool
        public var has_taskset = false

        public init(name: String, model: String, soc: String, system: String, fingerprint: String, emulated: Bool) {
            self.name = name
            self.model = model
            self.soc = soc
            self.system = system
            self.fingerprint = fingerprint
            self.emulated = emulated
        }
    }

    public struct Runner: Encodable, Sendable {
        public var name = "ios_notes Core ML"
        public var version: String
        public var accelerator: String
        public var accelerator_asked: String

        public init(version: String, accelerator: String, asked: String) {
            self.version = version
            self.accelerator = accelerator
            accelerator_asked = asked
        }
    }

    public struct Round: Encodable, Sendable {
        public var `repeat` = 0
        public var num_samples: Int
        public var samples_us: [Double]
        public var summary: [String: Double] = [:]
        public var warmup_us: [Double]
        public var load_us: Double
        public var compile_us = 0.0
        public var first_us: Double
        public var is_steady: Bool

        public init(samples: [Double], warmUp: WarmUp, loadUs: Double, firstUs: Double) {
            num_samples = samples.count
            samples_us = samples
            warmup_us = warmUp.samples
            load_us = loadUs
            first_us = firstUs
            is_steady = warmUp.isSteady
        }
    }

    public struct Failure: Encodable, Sendable {
        public var kind = "interrupted"
        public var message: String
    }

    public struct State: Encodable, Sendable {
        public var thermal_status: String?
        public var battery_percent: Int?
        public var battery_c: Double?
        public var is_charging: Bool?
        public var hottest_c: Double?
        public var clocks_khz: [String: Int] = [:]

        public init(thermal: String?, batteryPercent: Int?, isCharging: Bool?) {
            thermal_status = thermal
            battery_percent = batteryPercent
            is_charging = isCharging
        }
    }

    /// Figures are derived from the samples where the record is read.
    public struct Figures: Encodable, Sendable {
        public var num_samples: Int
        public var marks: [String] = []
    }

    public var model: String
    public var model_sha256: String
    public var model_bytes: Int
    public var device_name = "iOS app"
    public var started: String
    public var threads = 1
    public var cores = "all"
    public var max_drift = 0.05
    public var runs_asked: Int
    public var emulated: Bool
    public var device: Device
    public var runner: Runner
    public var rounds: [Round]
    public var state_before: State
    public var state_after: State
    public var is_complete: Bool
    public var failure: Failure?
    public var figures: Figures

    public init(
        manifest: ModelManifest, device: Device, runner: Runner, round: Round, runsAsked: Int, started: String,
        before: State, after: State, stopped: String?
    ) {
        model = manifest.file.name
        model_sha256 = manifest.file.sha256
        model_bytes = manifest.file.numBytes
        self.started = started
        runs_asked = runsAsked
        emulated = device.emulated
        self.device = device
        self.runner = runner
        rounds = [round]
        state_before = before
        state_after = after
        is_complete = round.num_samples >= runsAsked
        failure = is_complete ? nil : Failure(message: "stopped before all inferences were run: " + (stopped ?? "unknown"))
        figures = Figures(num_samples: round.num_samples)
    }

    public func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return try encoder.encode(self)
    }
}
