// What a record says about the device, and whether a measurement may go on.

import EdgeViTCore
import Foundation
import UIKit

enum DeviceFacts {
    @MainActor static func device() -> BenchmarkRecord.Device {
        UIDevice.current.isBatteryMonitoringEnabled = true
        #if targetEnvironment(simulator)
            let isSimulator = true
        #else
            let isSimulator = false
        #endif
        // Apple names no system on chip; the hardware's name, such as iPhone17,1, stands for it.
        let hardware = systemValue("hw.machine")
        return BenchmarkRecord.Device(
            name: "iOS app", model: hardware, soc: hardware, system: "iOS \(UIDevice.current.systemVersion)",
            fingerprint: "\(hardware) \(systemValue("kern.osversion"))", emulated: isSimulator)
    }

    @Sendable static func state() -> BenchmarkRecord.State {
        let names: [ProcessInfo.ThermalState: String] = [.nominal: "none", .fair: "light", .serious: "severe", .critical: "critical"]
        return BenchmarkRecord.State(
            thermal: names[ProcessInfo.processInfo.thermalState], batteryPercent: nil, isCharging: nil)
    }

    private static func systemValue(_ name: String) -> String {
        var size = 0
        sysctlbyname(name, nil, &size, nil, 0)
        guard size > 0 else { return "unknown" }
        var bytes = [CChar](repeating: 0, count: size)
        sysctlbyname(name, &bytes, &size, nil, 0)
        return String(cString: bytes)
    }
}

/// Set by the main actor, asked by the one that measures.
final class RunGuard: @unchecked Sendable {
    private let lock = NSLock()
    private var why: String?

    var reason: String? { lock.withLock { why } }

    func begin() { lock.withLock { why = nil } }

    func end(_ reason: String) { lock.withLock { why = why ?? reason } }
}
