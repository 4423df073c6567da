package edgevit.core;

import edgevit.core.Postprocess.Prediction;
import java.io.File;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Random;

/** A model ready to classify: manifest, runtime and the buffers between them, which are reused. Used from one thread. */
public final class Engine {
    public final Manifest manifest;
    /** How long reading the file and preparing the runtime took, without copying the model out of the app. */
    public final double loadUs;
    /** Latency of the last inference, and of preparing its picture. */
    public double inferenceUs;
    public double preprocessUs;

    private final Classifier classifier;
    private final Preprocess preprocess;
    private final ByteBuffer input;
    private final float[] outputs;

    private Engine(Manifest manifest, Classifier classifier, double loadUs) {
        this.manifest = manifest;
        this.classifier = classifier;
        this.loadUs = loadUs;
        preprocess = new Preprocess(manifest.input);
        // Runtimes read it from native code: direct, and in the machine's own byte order.
        input = ByteBuffer.allocateDirect(manifest.input.numBytes()).order(ByteOrder.nativeOrder());
        outputs = new float[manifest.labels.size()];
    }

    /**
     * Check a model and load it: the file that was compiled for this phone's chip where that is here and loads, else the portable one.
     *
     * @param source where model and manifest lie
     * @param model the model's file name
     * @param folder where a copy is kept that the runtime can open
     * @throws ModelException if anything about model, manifest or runtime does not fit; the message says what
     */
    public static Engine load(ModelFiles.Source source, String model, RuntimeFactory runtime, int threads, File folder)
            throws ModelException {
        Manifest manifest = ModelFiles.readManifest(source, model);
        manifest.requireTarget(runtime.target(), runtime.name());
        Manifest.Compiled compiled = manifest.compiledFor(runtime.chip());
        if (compiled != null) {
            try {
                return load(ModelFiles.install(source, compiled, folder), manifest, runtime, threads);
            } catch (ModelException e) {
                // It is not here, or this phone's drivers do not take it: the portable file runs everywhere.
            }
        }
        return load(ModelFiles.install(source, manifest, folder), manifest, runtime, threads);
    }

    private static Engine load(File file, Manifest manifest, RuntimeFactory runtime, int threads) throws ModelException {
        long begin = System.nanoTime();
        Classifier classifier = runtime.load(file, manifest, threads);
        return new Engine(manifest, classifier, (System.nanoTime() - begin) / 1e3);
    }

    /** Classify a decoded picture; see {@link Preprocess#resize} for the arguments. */
    public List<Prediction> classify(byte[] rgba, int width, int height, int orientation, int count)
            throws ModelException, PictureException {
        long begin = System.nanoTime();
        preprocess.resize(rgba, width, height, orientation);
        preprocess.write(input);
        preprocessUs = (System.nanoTime() - begin) / 1e3;
        runAgain();
        return Postprocess.top(outputs, manifest.givesProbabilities, manifest.labels, count);
    }

    /** Run the inference once more on the last picture, and return its latency in microseconds. */
    public double runAgain() throws ModelException {
        long begin = System.nanoTime();
        classifier.run(input, outputs);
        inferenceUs = (System.nanoTime() - begin) / 1e3;
        return inferenceUs;
    }

    /** Return which processor runs the model. */
    public String accelerator() {
        return classifier.accelerator();
    }

    /** Return a benchmark of this model, on noise that is the same every time. */
    public Benchmark benchmark(Benchmark.Clock clock) {
        new Random(0).nextBytes(preprocess.pixels());
        preprocess.write(input);
        return new Benchmark(classifier, input, outputs, clock);
    }

    public void close() {
        classifier.close();
    }
}
