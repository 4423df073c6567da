// Manifests are read, and records written as Python reads them (tests/ios_notes/test_golden.py hands over a manifest and takes the record).

import Foundation
import XCTest

@testable import EdgeViTCore

final class RecordTests: XCTestCase {
    private func text(target: String = "coreml", width: Int = 224, schema: Int = 1) -> Data {
        Data(
            """
            {"schema_version": \(schema), "model": "levit_128s", "precision": "int8_ptq", "target": "\(target)",
             "classes": [{"id": "n01440764", "name": "tench"}], "later_field": {"a": [1, null]},
             "input": {"shape": [1, 224, \(width), 3], "layout": "NHWC", "resize": 256, "interpolation": "bicubic", "mean": [0.485]},
             "file": {"name": "a.mlpackage", "num_bytes": 7, "sha256": "\(String(repeating: "0", count: 64))"}}
            """.utf8)
    }

    private func given(_ name: String) -> URL? {
        ProcessInfo.processInfo.environment[name].map { URL(fileURLWithPath: $0) }
    }

    func testManifestIsRead() throws {
        let manifest = try ModelManifest.load(from: given("EDGE_VIT_MANIFEST").map { try Data(contentsOf: $0) } ?? text())
        XCTAssertEqual(manifest.target, "coreml")
        XCTAssertEqual(manifest.file.sha256.count, 64)
        XCTAssertGreaterThan(manifest.input.side, 0)
    }

    func testWhatCannotBeServedIsRefused() {
        for (data, words) in [
            (text(target: "tflite"), "was made for tflite"), (text(width: 100), "takes no square pictures"),
            (text(schema: 2), "schema_version 2 is unknown"),
        ] {
            XCTAssertThrowsError(try ModelManifest.load(from: data)) { XCTAssertTrue($0.localizedDescription.contains(words)) }
        }
        XCTAssertThrowsError(try ModelManifest.load(from: Data("{}".utf8)))
    }

    func testRecordIsWritten() throws {
        let manifest = try ModelManifest.load(from: given("EDGE_VIT_MANIFEST").map { try Data(contentsOf: $0) } ?? text())
        var warmUp = WarmUp()
        for _ in 0..<25 { warmUp.add(4000) }
        let samples = (0..<120).map { 4000 + Double($0 % 7) }
        let record = BenchmarkRecord(
            manifest: manifest,
            device: .init(name: "iOS app", model: "iPhone17,1", soc: "iPhone17,1", system: "iOS 26", fingerprint: "x", emulated: false),
            runner: .init(version: "26", accelerator: "Neural Engine, rest on CPU", asked: "all"),
            round: .init(samples: samples, warmUp: warmUp, loadUs: 90_000, firstUs: 8000), runsAsked: 100,
            started: "2026-01-01T00:00:00+00:00", before: .init(thermal: "none", batteryPercent: 80, isCharging: false),
            after: .init(thermal: "light", batteryPercent: 79, isCharging: false), stopped: nil)
        XCTAssertTrue(record.is_complete)
        XCTAssertNil(record.failure)
        let data = try record.json()
        if let place = given("EDGE_VIT_RECORD") { try data.write(to: place) }
        let plain = try XCTUnwrap(JSONSerialization.jsonObject(with: data) as? [String: Any])
        XCTAssertEqual(plain["model_sha256"] as? String, manifest.file.sha256)
    }

    func testABrokenOffRunSaysWhy() throws {
        let record = BenchmarkRecord(
            manifest: try ModelManifest.load(from: text()),
            device: .init(name: "iOS app", model: "a", soc: "a", system: "iOS 26", fingerprint: "x", emulated: false),
            runner: .init(version: "26", accelerator: "CPU", asked: "all"),
            round: .init(samples: [4000], warmUp: WarmUp(), loadUs: 1, firstUs: 1), runsAsked: 100,
            started: "2026-01-01T00:00:00+00:00", before: .init(thermal: nil, batteryPercent: nil, isCharging: nil),
            after: .init(thermal: nil, batteryPercent: nil, isCharging: nil), stopped: "the app went to the background")
        XCTAssertFalse(record.is_complete)
        XCTAssertEqual(
            record.failure?.message, "stopped before all inferences were run: the app went to the background")
    }
}
