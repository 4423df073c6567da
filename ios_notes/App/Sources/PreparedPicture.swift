// A picture as the model takes it: decoded by ImageIO, resized by EdgeViTCore with the bits of training.

import CoreGraphics
import CoreVideo
import EdgeViTCore
import Foundation
import ImageIO

/// The buffer is written once and only read from then on.
struct PreparedPicture: @unchecked Sendable {
    let buffer: CVPixelBuffer
    let milliseconds: Double

    init(data: Data, manifest: ModelManifest) throws {
        let clock = ContinuousClock()
        let begin = clock.now
        guard let source = CGImageSourceCreateWithData(data as CFData, nil) else { throw ModelProblem.unreadablePicture }
        let (rgb, width, height) = try Self.uprightPixels(of: source)
        let input = manifest.input
        let pixels = Resampling.prepare(
            rgb, width: width, height: height, resize: input.resize, side: input.side,
            isBicubic: input.interpolation == "bicubic")
        buffer = try Self.buffer(of: pixels, side: input.side)
        let parts = (clock.now - begin).components
        milliseconds = Double(parts.seconds) * 1e3 + Double(parts.attoseconds) * 1e-15
    }

    /// Decode to upright RGB. ImageIO turns the picture; transparent parts lie over white, as in training.
    private static func uprightPixels(of source: CGImageSource) throws -> ([UInt8], Int, Int) {
        let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
        let longest = max(properties?[kCGImagePropertyPixelWidth] as? Int ?? 0, properties?[kCGImagePropertyPixelHeight] as? Int ?? 0)
        let options: [CFString: Any] = [
            kCGImageSourceCreateThumbnailFromImageAlways: true, kCGImageSourceCreateThumbnailWithTransform: true,
            kCGImageSourceThumbnailMaxPixelSize: longest,
        ]
        guard longest > 0, let image = CGImageSourceCreateThumbnailAtIndex(source, 0, options as CFDictionary),
            let space = CGColorSpace(name: CGColorSpace.sRGB)
        else { throw ModelProblem.unreadablePicture }
        var rgba = [UInt8](repeating: 255, count: 4 * image.width * image.height)
        let isDrawn = rgba.withUnsafeMutableBytes { bytes -> Bool in
            guard
                let context = CGContext(
                    data: bytes.baseAddress, width: image.width, height: image.height, bitsPerComponent: 8,
                    bytesPerRow: 4 * image.width, space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            else { return false }
            let whole = CGRect(x: 0, y: 0, width: image.width, height: image.height)
            context.setFillColor(CGColor(red: 1, green: 1, blue: 1, alpha: 1))
            context.fill(whole)
            context.draw(image, in: whole)
            return true
        }
        guard isDrawn else { throw ModelProblem.unreadablePicture }
        var rgb = [UInt8](repeating: 0, count: 3 * image.width * image.height)
        for pixel in 0..<(image.width * image.height) {
            for channel in 0..<3 { rgb[3 * pixel + channel] = rgba[4 * pixel + channel] }
        }
        return (rgb, image.width, image.height)
    }

    private static func buffer(of pixels: [UInt8], side: Int) throws -> CVPixelBuffer {
        var made: CVPixelBuffer?
        CVPixelBufferCreate(kCFAllocatorDefault, side, side, kCVPixelFormatType_32BGRA, nil, &made)
        guard let buffer = made else { throw ModelProblem.unreadablePicture }
        CVPixelBufferLockBaseAddress(buffer, [])
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        guard let base = CVPixelBufferGetBaseAddress(buffer) else { throw ModelProblem.unreadablePicture }
        let stride = CVPixelBufferGetBytesPerRow(buffer)
        for row in 0..<side {
            let line = base.advanced(by: row * stride).assumingMemoryBound(to: UInt8.self)
            for column in 0..<side {
                let from = 3 * (row * side + column)
                line[4 * column] = pixels[from + 2]
                line[4 * column + 1] = pixels[from + 1]
                line[4 * column + 2] = pixels[from]
                line[4 * column + 3] = 255
            }
        }
        return buffer
    }
}
