package edgevit.demo;

import edgevit.core.Classifier;
import edgevit.core.Manifest;
import edgevit.core.ModelException;
import edgevit.core.RuntimeFactory;
import java.io.File;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.TensorFlowLite;

/** Loads .tflite files. */
final class LiteRtRuntimeFactory implements RuntimeFactory {
    @Override
    public String name() {
        return "LiteRT";
    }

    @Override
    public String target() {
        return "tflite";
    }

    @Override
    public String version() {
        return TensorFlowLite.runtimeVersion();
    }

    @Override
    public Classifier load(File model, Manifest manifest, int threads) throws ModelException {
        try {
            Interpreter.Options options = new Interpreter.Options().setNumThreads(threads).setUseXNNPACK(true);
            return new LiteRtClassifier(new Interpreter(model, options), manifest);
        } catch (RuntimeException e) {
            throw new ModelException("LiteRT refuses " + manifest.fileName + " (" + e.getMessage() + ")", e);
        } catch (LinkageError e) { // Its library is missing, or built for another kind of processor.
            throw new ModelException("LiteRT's native library does not load on this device (" + e.getMessage() + ")", e);
        }
    }
}
