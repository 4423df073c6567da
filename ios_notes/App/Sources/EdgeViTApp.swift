// Choose a picture, see three classes with bars and the time of each stage; measure, and share the record.

import CoreML
import EdgeViTCore
import PhotosUI
import SwiftUI

@main
struct EdgeViTApp: App {
    var body: some Scene {
        WindowGroup { ClassifierView(modelName: "levit_128s_int8") }
    }
}

@MainActor
final class ClassifierModel: ObservableObject {
    enum State {
        case loading
        case ready(String)
        case working
        case measuring
        case classified(Classification)
        case measured(URL, p50: Double, p90: Double)
        case problem(String)
    }

    @Published private(set) var state = State.loading
    private var runner: ModelRunner?
    private var picture: PreparedPicture?
    private let guardian = RunGuard()

    func load(named name: String, units: MLComputeUnits) async {
        state = .loading
        do {
            let made = try await ModelRunner(named: name, units: units)
            runner = made
            state = .ready(try await made.whatRuns())
        } catch {
            state = .problem(error.localizedDescription)
        }
    }

    func classify(_ data: Data?) async {
        guard let runner else { return }
        state = .working
        do {
            guard let data else { throw ModelProblem.unreadablePicture }
            let manifest = runner.manifest
            let prepared = try await Task.detached { try PreparedPicture(data: data, manifest: manifest) }.value
            picture = prepared
            state = .classified(try await runner.classify(prepared))
        } catch {
            state = .problem(error.localizedDescription)
        }
    }

    func measure() async {
        guard let runner, let picture else { return }
        state = .measuring
        guardian.begin()
        do {
            let started = ISO8601DateFormatter().string(from: Date())
            let record = try await runner.measure(
                picture, device: DeviceFacts.device(), state: DeviceFacts.state, started: started,
                mayGoOn: { [guardian] in guardian.reason })
            let url = URL.documentsDirectory.appending(path: "bench-\(started).json")
            try record.json().write(to: url, options: .atomic)
            let samples = record.rounds[0].samples_us
            guard !samples.isEmpty else { throw ModelProblem.unusable("Nothing was measured.") }
            state = .measured(
                url, p50: Statistics.quantile(samples, 50) / 1000, p90: Statistics.quantile(samples, 90) / 1000)
        } catch {
            state = .problem(error.localizedDescription)
        }
    }

    /// In the background iOS slows an app down: what was measured until then is kept, marked as partial.
    func scenePhase(_ phase: ScenePhase) {
        if phase != .active { guardian.end("the app went to the background") }
    }
}

struct ClassifierView: View {
    let modelName: String
    @StateObject private var model = ClassifierModel()
    @State private var choice: PhotosPickerItem?
    @State private var units = MLComputeUnits.all
    @Environment(\.scenePhase) private var phase

    var body: some View {
        NavigationStack {
            Form {
                PhotosPicker("Choose picture", selection: $choice, matching: .images)
                Picker("Processors", selection: $units) {
                    ForEach([MLComputeUnits.all, .cpuAndNeuralEngine, .cpuAndGPU, .cpuOnly], id: \.rawValue) {
                        Text(ModelRunner.name(of: $0)).tag($0)
                    }
                }
                Button("Benchmark") { Task { await model.measure() } }
                Section { result }
            }
            .navigationTitle("Edge ViT")
        }
        .task(id: units.rawValue) { await model.load(named: modelName, units: units) }
        .onChange(of: choice) { _, item in
            Task { await model.classify(try? await item?.loadTransferable(type: Data.self)) }
        }
        .onChange(of: phase) { _, now in model.scenePhase(now) }
    }

    @ViewBuilder private var result: some View {
        switch model.state {
        case .loading: ProgressView("Loading \(modelName)")
        case .ready(let ran): Text("Choose a picture.\nRuns on: \(ran)")
        case .working: ProgressView()
        case .measuring: Text("Measuring. Nothing moves on purpose.")
        case .classified(let found):
            ForEach(found.rows) { row in
                ProgressView(value: row.probability) { Text(row.label) }
                    .accessibilityLabel("\(row.label), \(Int(100 * row.probability)) percent")
            }
            Text(String(
                format: "preparing %.1f ms, inference %.1f ms, result %.2f ms", found.prepareMs, found.inferenceMs,
                found.resultMs))
        case .measured(let url, let p50, let p90):
            Text(String(format: "p50 %.2f ms, p90 %.2f ms", p50, p90))
            ShareLink("Share record", item: url)
        case .problem(let message): Text(message).foregroundStyle(.red)
        }
    }
}
