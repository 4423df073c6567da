// swift-tools-version:5.9
// The parts that need no Apple framework: they build and are tested on Linux too (`swift test`).
import PackageDescription

let package = Package(
    name: "EdgeViTCore",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [.library(name: "EdgeViTCore", targets: ["EdgeViTCore"])],
    targets: [
        .target(name: "EdgeViTCore"),
        .testTarget(name: "EdgeViTCoreTests", dependencies: ["EdgeViTCore"], resources: [.copy("golden.json")]),
    ]
)
