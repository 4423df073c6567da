// Probabilities and latency figures, by the definitions of converters/artefact.py and edge_vit/devices/stats.py.

import Foundation

public enum Statistics {
    /// Turn logits into probabilities, in float64.
    public static func softmax(_ logits: [Double]) -> [Double] {
        guard let largest = logits.max() else { return [] }
        let powers = logits.map { exp($0 - largest) }
        let total = powers.reduce(0, +)
        return powers.map { $0 / total }
    }

    /// Return the places of the largest values; equal ones keep their order.
    public static func top(_ values: [Double], count: Int) -> [Int] {
        let order = values.indices.sorted { values[$0] != values[$1] ? values[$0] > values[$1] : $0 < $1 }
        return Array(order.prefix(count))
    }

    /// Interpolate between the neighbouring order statistics.
    public static func quantile(_ samples: [Double], _ percent: Double) -> Double {
        let ordered = samples.sorted()
        let position = Double(ordered.count - 1) * percent / 100
        let below = Int(position.rounded(.down))
        let above = min(below + 1, ordered.count - 1)
        return ordered[below] + (ordered[above] - ordered[below]) * (position - Double(below))
    }

    /// Return the median of the last fifth over that of the first, less one; nil for too few samples.
    public static func drift(_ samples: [Double]) -> Double? {
        guard samples.count >= 25 else { return nil }
        let edges = (0...5).map { Int((Double($0 * samples.count) / 5).rounded(.toNearestOrEven)) }
        let first = quantile(Array(samples[edges[0]..<edges[1]]), 50)
        let last = quantile(Array(samples[edges[4]..<edges[5]]), 50)
        return last / first - 1
    }
}

/// Warm-up is over when the medians of two neighbouring windows of ten agree within 2%.
public struct WarmUp: Sendable {
    public private(set) var samples: [Double] = []

    public init() {}

    public mutating func add(_ sample: Double) { samples.append(sample) }

    public var isSteady: Bool {
        guard samples.count >= 20 else { return false }
        let before = Statistics.quantile(Array(samples.suffix(20).prefix(10)), 50)
        let now = Statistics.quantile(Array(samples.suffix(10)), 50)
        return abs(before - now) < 0.02 * now
    }
}
