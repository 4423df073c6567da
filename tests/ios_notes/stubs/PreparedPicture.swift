// Stands for the app's own, which needs Core Graphics.

import CoreVideo

struct PreparedPicture: @unchecked Sendable {
    let buffer: CVPixelBuffer
    let milliseconds: Double
}
