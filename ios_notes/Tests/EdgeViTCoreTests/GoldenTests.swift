// The same golden values that Python and the Android app's classes are held to (tests/ios_notes/test_golden.py).

import Foundation
import XCTest

@testable import EdgeViTCore

final class GoldenTests: XCTestCase {
    struct Golden: Decodable {
        struct Plan: Decodable {
            let width, height, resize, side: Int
            let expected: [Int]
        }

        struct Kernel: Decodable {
            let from, to, begin, count: Int
            let bicubic: Bool
            let first: [Int]
            let weights: [[Int]]
        }

        struct Picture: Decodable {
            let width, height, resize, side: Int
            let bicubic: Bool
            let rgb, pixels: [UInt8]
        }

        struct Softmax: Decodable { let logits, probabilities: [Double] }

        struct Quantile: Decodable {
            let samples: [Double]
            let percent, expected: Double
        }

        struct Drift: Decodable { let samples: [Double], expected: Double? }

        let plans: [Plan]
        let kernels: [Kernel]
        let pictures: [Picture]
        let softmax: [Softmax]
        let quantiles: [Quantile]
        let drifts: [Drift]
    }

    private func golden() throws -> Golden {
        let url = try XCTUnwrap(Bundle.module.url(forResource: "golden", withExtension: "json"))
        return try JSONDecoder().decode(Golden.self, from: Data(contentsOf: url))
    }

    func testPlans() throws {
        for one in try golden().plans {
            let plan = PreparationPlan(width: one.width, height: one.height, resize: one.resize, side: one.side)
            XCTAssertEqual([plan.width, plan.height, plan.left, plan.top], one.expected)
        }
    }

    func testKernels() throws {
        for one in try golden().kernels {
            let kernel = ResamplingKernel(
                from: one.from, to: one.to, begin: one.begin, count: one.count, isBicubic: one.bicubic)
            XCTAssertEqual(kernel.first, one.first)
            XCTAssertEqual(kernel.weights, one.weights)
        }
    }

    func testPictures() throws {
        for one in try golden().pictures {
            let found = Resampling.prepare(
                one.rgb, width: one.width, height: one.height, resize: one.resize, side: one.side, isBicubic: one.bicubic)
            XCTAssertEqual(found, one.pixels)
        }
    }

    func testSoftmax() throws {
        for one in try golden().softmax {
            for (found, expected) in zip(Statistics.softmax(one.logits), one.probabilities) {
                XCTAssertEqual(found, expected, accuracy: 1e-12)
            }
        }
    }

    func testQuantiles() throws {
        for one in try golden().quantiles {
            XCTAssertEqual(Statistics.quantile(one.samples, one.percent), one.expected, accuracy: 1e-9)
        }
    }

    func testDrift() throws {
        for one in try golden().drifts {
            let found = Statistics.drift(one.samples)
            XCTAssertEqual(found == nil, one.expected == nil)
            XCTAssertEqual(found ?? 0, one.expected ?? 0, accuracy: 1e-9)
        }
    }

    func testWarmUpEndsWhenSteady() {
        var warmUp = WarmUp()
        for sample in [9.0, 8, 7, 6, 5] + [Double](repeating: 4, count: 14) { warmUp.add(sample) }
        XCTAssertFalse(warmUp.isSteady)
        for _ in 0..<6 { warmUp.add(4) }
        XCTAssertTrue(warmUp.isSteady)
    }
}
