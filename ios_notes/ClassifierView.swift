// A screen around Classifier: choose a picture, see three classes with bars and the latency.

import PhotosUI
import SwiftUI

@MainActor
final class ClassifierModel: ObservableObject {
    enum State {
        case loading
        case ready
        case working
        case classified(Classification)
        case measured(p50: Double, p90: Double)
        case problem(String)
    }

    @Published private(set) var state = State.loading
    private var classifier: Classifier?
    private var picture: CGImage?

    func load(named name: String) async {
        do {
            classifier = try await Classifier(named: name)
            state = .ready
        } catch {
            state = .problem(error.localizedDescription)
        }
    }

    func classify(_ data: Data?) async {
        guard let classifier else { return }
        state = .working
        do {
            guard
                let data, let source = CGImageSourceCreateWithData(data as CFData, nil),
                let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
            else { throw ClassifierError.unreadablePicture }
            let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
            let raw = properties?[kCGImagePropertyOrientation] as? UInt32 ?? 1
            picture = image
            state = .classified(
                try await classifier.classify(image, orientation: CGImagePropertyOrientation(rawValue: raw) ?? .up))
        } catch {
            state = .problem(error.localizedDescription)
        }
    }

    func measure() async {
        guard let classifier, let picture else { return }
        state = .working
        do {
            let (p50, p90) = try await classifier.measure(picture)
            state = .measured(p50: p50, p90: p90)
        } catch {
            state = .problem(error.localizedDescription)
        }
    }
}

struct ClassifierView: View {
    let modelName: String
    @StateObject private var model = ClassifierModel()
    @State private var choice: PhotosPickerItem?

    var body: some View {
        VStack(alignment: .leading, spacing: 16) {
            PhotosPicker("Choose picture", selection: $choice, matching: .images)
            Button("Benchmark") { Task { await model.measure() } }
            result
            Spacer()
        }
        .padding()
        .task { await model.load(named: modelName) }
        .onChange(of: choice) { _, item in
            Task { await model.classify(try? await item?.loadTransferable(type: Data.self)) }
        }
    }

    @ViewBuilder private var result: some View {
        switch model.state {
        case .loading: ProgressView("Loading \(modelName)")
        case .ready: Text("Choose a picture.")
        case .working: ProgressView()
        case .classified(let found):
            ForEach(found.top, id: \.label) { one in
                ProgressView(value: one.probability) { Text(one.label) }
            }
            Text("inference \(found.inference.formatted(.units(allowed: [.milliseconds])))")
        case .measured(let p50, let p90): Text(String(format: "p50 %.2f ms, p90 %.2f ms", p50, p90))
        case .problem(let message): Text(message).foregroundStyle(.red)
        }
    }
}
