// Stands for Core Video where only the type is passed on.

public final class CVPixelBuffer: @unchecked Sendable {}
