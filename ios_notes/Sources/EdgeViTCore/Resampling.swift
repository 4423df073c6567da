// Pictures to pixels as in training, bit for bit: steps 3 to 5 of calibration/preprocess.py.

/// Weights of one antialiased pass: for each output position the first input position, and fixed-point weights.
public struct ResamplingKernel: Sendable {
    public static let bits = 22

    public let first: [Int]
    public let weights: [[Int]]

    public init(from input: Int, to output: Int, begin: Int, count: Int, isBicubic: Bool) {
        let scale = Double(input) / Double(output)
        let stretch = max(scale, 1.0)
        let support = (isBicubic ? 2.0 : 1.0) * stretch
        let inverse = 1.0 / stretch
        var first: [Int] = []
        var weights: [[Int]] = []
        for position in 0..<count {
            let center = (Double(begin + position) + 0.5) * scale
            let from = max(Int(center - support + 0.5), 0)
            let to = min(Int(center + support + 0.5), input)
            let raw = (from..<to).map { Self.value((Double($0) - center + 0.5) * inverse, isBicubic: isBicubic) }
            let total = raw.reduce(0, +)
            first.append(from)
            weights.append(raw.map { Self.fixed($0 / total) })
        }
        self.first = first
        self.weights = weights
    }

    /// Half away from zero, by truncation.
    private static func fixed(_ weight: Double) -> Int {
        Int(weight * Double(1 << bits) + (weight < 0 ? -0.5 : 0.5))
    }

    private static func value(_ distance: Double, isBicubic: Bool) -> Double {
        let x = abs(distance)
        if !isBicubic { return x < 1.0 ? 1.0 - x : 0.0 }
        let a = -0.5
        if x < 1.0 { return ((a + 2.0) * x - (a + 3.0)) * x * x + 1 }
        return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0
    }
}

/// How a picture of one size becomes the model's: resized size and the corner of the centre crop.
public struct PreparationPlan: Equatable, Sendable {
    public let width: Int
    public let height: Int
    public let left: Int
    public let top: Int

    /// The shorter side becomes `resize`, the longer one is rounded half up; then a square of `side` is cut out.
    public init(width: Int, height: Int, resize: Int, side: Int) {
        let short = min(width, height)
        let long = max(width, height)
        let longer = (2 * long * resize + short) / (2 * short)
        self.width = width <= height ? resize : longer
        self.height = width <= height ? longer : resize
        left = (self.width - side) / 2
        top = (self.height - side) / 2
    }
}

public enum Resampling {
    /// Bring upright RGB pixels, row by row, to `side * side * 3` of them.
    public static func prepare(
        _ rgb: [UInt8], width: Int, height: Int, resize: Int, side: Int, isBicubic: Bool
    ) -> [UInt8] {
        let plan = PreparationPlan(width: width, height: height, resize: resize, side: side)
        let across = pass(
            rgb, lines: height, length: width, stride: (line: 3 * width, step: 3), target: plan.width, begin: plan.left,
            count: side, isBicubic: isBicubic)
        let down = pass(
            across, lines: side, length: height, stride: (line: 3, step: 3 * side), target: plan.height, begin: plan.top,
            count: side, isBicubic: isBicubic)
        // The second pass has written its lines, the columns, one after another.
        var pixels = [UInt8](repeating: 0, count: 3 * side * side)
        for column in 0..<side {
            for row in 0..<side {
                for channel in 0..<3 {
                    pixels[3 * (row * side + column) + channel] = down[3 * (column * side + row) + channel]
                }
            }
        }
        return pixels
    }

    /// Resample `lines` lines; a pass whose size does not change only cuts.
    private static func pass(
        _ pixels: [UInt8], lines: Int, length: Int, stride: (line: Int, step: Int), target: Int, begin: Int, count: Int,
        isBicubic: Bool
    ) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 3 * lines * count)
        let isSame = target == length
        let kernel = ResamplingKernel(
            from: length, to: target, begin: begin, count: isSame ? 0 : count, isBicubic: isBicubic)
        for line in 0..<lines {
            for position in 0..<count {
                for channel in 0..<3 {
                    let base = line * stride.line + channel
                    let place = 3 * (line * count + position) + channel
                    if isSame {
                        out[place] = pixels[base + (begin + position) * stride.step]
                        continue
                    }
                    var sum = 1 << (ResamplingKernel.bits - 1)
                    for (tap, weight) in kernel.weights[position].enumerated() {
                        sum += Int(pixels[base + (kernel.first[position] + tap) * stride.step]) * weight
                    }
                    out[place] = UInt8(max(0, min(255, sum >> ResamplingKernel.bits)))
                }
            }
        }
        return out
    }
}
